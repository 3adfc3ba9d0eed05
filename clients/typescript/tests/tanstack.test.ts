// What one answer changes in other queries' data.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { QueryClient } from '@tanstack/query-core'
import { createClient, ViewerDocument } from '@videocredits/client'
import { tanstackOptions } from '@videocredits/client/tanstack'

const video = { __typename: 'VideoData', id: 'video_1', version: 2, title: 'Whales', status: 'QUEUED' }

/** Asks once, with queries of which one shows something already, and returns what both show then. */
async function after(shown: unknown, told: unknown) {
  const queries = new QueryClient()
  queries.setQueryData(['shown'], shown, { updatedAt: 1 })
  const send = async () => new Response(JSON.stringify({ data: told }), { headers: { 'content-type': 'application/json' } })
  const { queryFn, queryKey } = tanstackOptions(createClient({ url: 'http://localhost/', fetch: send })).query(ViewerDocument, {})
  const got = await queries.fetchQuery({ queryKey, queryFn })
  return { shown: queries.getQueryData<any>(['shown']), got, at: queries.getQueryState(['shown'])?.dataUpdatedAt }
}

test('Newer objects are shown wherever they are, and no query counts as asked again.', async () => {
  const { shown, at } = await after({ list: [video] }, { video: { ...video, version: 3, status: 'READY' } })
  assert.deepEqual(shown, { list: [{ ...video, version: 3, status: 'READY' }] })
  assert.equal(at, 1)
})

test('An answer that is older than what is shown changes nothing, and is itself brought up to date.', async () => {
  const old = { list: [video] }
  const { shown, got } = await after(old, { video: { ...video, version: 1, status: 'FAILED' } })
  assert.equal(shown, old)
  assert.deepEqual(got, { video })
})

test('What is shown with fields that are not newer keeps its version, for a save that expects it.', async () => {
  const edited = { ...video, config: { transition: 'fade' }, images: [{ start: 0 }] }
  const { shown } = await after(edited, { video: { ...video, version: 3, status: 'READY' } })
  assert.deepEqual(shown, { ...edited, status: 'READY' })
  const saved = { ...edited, version: 4, config: { transition: 'cut' }, images: [] }
  assert.deepEqual((await after(edited, { video: saved })).shown, saved)
})

test('Pages of lists stay as they are, but for the objects in them.', async () => {
  const user = (version: number, ...nodes: unknown[]) => ({ id: 'user_1', version, videos: { nodes, pageInfo: {} } })
  const { shown } = await after(user(1, video), user(2, { ...video, version: 3, title: 'Seals' }))
  assert.deepEqual(shown, user(2, { ...video, version: 3, title: 'Seals' }))
  const other = { ...video, id: 'video_2' }
  assert.deepEqual((await after(user(1, video), user(2, other))).shown, user(2, video))
})
