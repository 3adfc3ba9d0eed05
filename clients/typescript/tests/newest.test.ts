// Answers that overtake each other.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { createClient, type Operation, VideoDataDocument, VideoDataUpdatedDocument } from '@videocredits/client'
import { parse } from 'graphql'

const video = (version: number, status: string, more: object = {}) => ({ id: 'video_1', version, status, ...more })

/** Answers so, one after the other, a subscription by a stream. */
function answering(...videos: object[]) {
  const send: typeof fetch = async (_, init) => {
    const streaming = new Headers(init?.headers).get('accept') === 'text/event-stream'
    const data = JSON.stringify({ data: { [streaming ? 'videoDataUpdated' : 'videoData']: videos.shift() } })
    const body = streaming ? `event: next\ndata: ${data}\n\nevent: complete\ndata:\n\n` : data
    return new Response(body, { headers: { 'content-type': streaming ? 'text/event-stream' : 'application/json' } })
  }
  const client = createClient({ url: 'http://localhost/graphql', fetch: send })
  const ask = async (operation: Operation<any, any> = VideoDataDocument) =>
    (await client.request(operation, { id: 'video_1' })).videoData
  const follow = async () => {
    for await (const { videoDataUpdated } of client.follow(VideoDataUpdatedDocument, { id: 'video_1' })) {
      return videoDataUpdated
    }
  }
  return { ask, follow }
}

test('An answer that was overtaken by a newer one is brought up to date.', async () => {
  const { ask, follow } = answering(video(2, 'READY'), video(1, 'QUEUED'), video(1, 'QUEUED'), video(3, 'FAILED'))
  await ask()
  assert.deepEqual(await ask(), video(2, 'READY'))
  assert.deepEqual(await follow(), video(2, 'READY'))
  assert.deepEqual(await ask(), video(3, 'FAILED'))
})

test('So it is with what was followed.', async () => {
  const { ask, follow } = answering(video(2, 'READY'), video(1, 'QUEUED'))
  await follow()
  assert.deepEqual(await ask(), video(2, 'READY'))
})

test('Of two with one version the later is the newer: a place in the queue is not the video’s own change.', async () => {
  const { ask } = answering(video(2, 'RENDER_QUEUED', { queuePosition: 3 }), video(2, 'RENDER_QUEUED', { queuePosition: 2 }))
  await ask()
  assert.deepEqual(await ask(), video(2, 'RENDER_QUEUED', { queuePosition: 2 }))
})

test('A document that gives fields other names is left as it is.', async () => {
  const { ask } = answering(video(2, 'READY'), video(1, 'realistic'))
  await ask()
  const aliased = parse('query($id: ID!) { videoData(id: $id) { id version status: videoStyle } }')
  assert.deepEqual(await ask(aliased), video(1, 'realistic'))
})
