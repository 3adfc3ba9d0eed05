// What must not typecheck. Nothing of this is run: if a line did typecheck, its `@ts-expect-error` would not.

import { type Client, CreateVideoDataDocument, match, VideoDataDocument, ViewerDocument } from '@videocredits/client'

export async function wrong(client: Client): Promise<void> {
  await client.request(ViewerDocument)
  // @ts-expect-error -- The video's id is missing.
  await client.request(VideoDataDocument)
  // @ts-expect-error -- An id is text.
  const { videoData } = await client.request(VideoDataDocument, { id: 5 })
  // @ts-expect-error -- There may be no such video.
  videoData.title
  // @ts-expect-error -- There is no such status.
  videoData?.status === 'Rendering'
  // @ts-expect-error -- There is no such field.
  videoData?.captionJson
  // @ts-expect-error -- The idempotency key is missing.
  const creation = client.request(CreateVideoDataDocument, { input: { title: 'Whales', videoStyle: 'realistic' } })
  // @ts-expect-error -- Only refusals for want of credits have a balance.
  ;(await creation).createVideoData.balance
  match((await creation).createVideoData, {
    CreateVideoDataSuccess: ({ user }): number => user.credits,
    QuotaExceeded: ({ limit, used }): number => limit - used,
    InsufficientCredits: ({ balance, required }): number => balance - required,
    IdempotencyKeyReused: () => 0,
    UserNotFound: () => 0,
    OperationRefused: () => 0,
    // @ts-expect-error -- It is no answer to a creation.
    VersionConflict: () => 0,
  })
  // @ts-expect-error -- The other members are not handled.
  match((await creation).createVideoData, { CreateVideoDataSuccess: () => 0 })
}
