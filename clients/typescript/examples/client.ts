import { createClient, CreateVideoDataDocument, idempotencyKeys, match, ViewerUpdatedDocument } from '@videocredits/client'

import { end, show, token, until, url } from './page.js'

const client = createClient({ url, token: async () => token })
const keys = idempotencyKeys()

async function create(title: string): Promise<string> {
  const { createVideoData } = await keys.use('create', (idempotencyKey) =>
    client.request(CreateVideoDataDocument, { input: { title, videoStyle: 'realistic', idempotencyKey } }),
  )
  return match(createVideoData, {
    CreateVideoDataSuccess: ({ videoData }) => `${videoData.title} is ${videoData.status}.`,
    QuotaExceeded: ({ message }) => message,
    InsufficientCredits: ({ balance, required }) => `It takes ${required}, and you have ${balance}: buy credits.`,
    IdempotencyKeyReused: () => 'Your last video was created after all. Create this one, too?',
    UserNotFound: () => 'Sign up first.',
    OperationRefused: ({ message }) => message,
  })
}

async function follow(signal: AbortSignal): Promise<void> {
  for await (const { viewerUpdated } of client.follow(ViewerUpdatedDocument, {}, { signal })) {
    show(viewerUpdated.user?.credits)
  }
}

// The example, played with ten credits: a double click creates one video.
const leaving = new AbortController()
const following = follow(leaving.signal)
await until(10)
const told = await Promise.all([create('Whales'), create('Whales')])
await until(9)
leaving.abort()
await following
show(told.join(' '))
end()
