// What ends a subscription, and what does not, with a fetch that answers as it is told to.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { createClient, ViewerUpdatedDocument } from '@videocredits/client'

const state = (name: string) => ({ viewerUpdated: { user: { name } } })
const event = (result: unknown) => `event: next\ndata: ${JSON.stringify(result)}\n\n`
const told = (...names: string[]) => `:\n\n${names.map((name) => event({ data: state(name) })).join('')}`
const refused = (code: string) => event({ errors: [{ message: code, extensions: { code } }] }) + COMPLETE
const COMPLETE = 'event: complete\ndata:\n\n'

const SILENCE = ':silence'

interface Connection {
  readonly token: string | null
  readonly signal: AbortSignal
}

/** Follows over connections of which each brings these bytes and breaks off, or is answered with a status. */
function following(connections: (string | Response)[], pieces = Infinity) {
  const opened: Connection[] = []
  let tokens = 0
  const send: typeof fetch = async (_, init) => {
    const token = new Headers(init?.headers).get('authorization')
    opened.push({ token, signal: init?.signal as AbortSignal })
    const next = connections.shift()
    if (next === undefined) throw new TypeError('fetch failed')
    if (next instanceof Response) return next
    const bytes = new TextEncoder().encode(next)
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        init?.signal?.addEventListener('abort', () => controller.error(init.signal?.reason))
        for (let at = 0; at < bytes.length; at += pieces) controller.enqueue(bytes.slice(at, at + pieces))
        if (!next.endsWith(SILENCE)) controller.close()
      },
    })
    return new Response(body, { headers: { 'content-type': 'text/event-stream; charset=utf-8' } })
  }
  const client = createClient({
    url: 'http://localhost/graphql',
    token: () => `${(tokens += 1)}`,
    fetch: send,
    retry: { firstWait: 1, longestWait: 2 },
  })
  const leaving = new AbortController()
  const names = async (signal: AbortSignal = leaving.signal) => {
    const all: unknown[] = []
    for await (const { viewerUpdated } of client.follow(ViewerUpdatedDocument, {}, { signal })) {
      all.push(viewerUpdated.user?.name)
    }
    return all
  }
  return { client, opened, leaving, names }
}

test('States come as they are told, however the bytes are cut, until the subscription is complete.', async () => {
  for (const pieces of [1, 2, 7, Infinity]) {
    const { names, opened } = following([told('Zoë 🐋', 'Ann') + COMPLETE + told('nobody')], pieces)
    assert.deepEqual(await names(), ['Zoë 🐋', 'Ann'])
    assert.equal(opened[0]?.signal.aborted, true)
  }
})

test('A stream that breaks off, is refused for a while, or cannot be opened is opened again.', async () => {
  const { names, opened } = following([
    told('one'),
    new Response('{"errors":[{"message":"Full.","extensions":{"code":"LIMIT_EXCEEDED"}}]}', { status: 429 }),
    new Response('Bad Gateway', { status: 502 }),
    refused('RETRY'),
    `${told('two')}event: next\ndata: {"da`,
    told('three') + COMPLETE,
  ])
  assert.deepEqual(await names(), ['one', 'two', 'three'])
  assert.equal(opened.length, 6)
})

test('When the token ends the stream, it is opened again with one that is asked for anew.', async () => {
  const { names, opened } = following([told('one') + refused('UNAUTHENTICATED'), told('two') + COMPLETE])
  assert.deepEqual(await names(), ['one', 'two'])
  assert.deepEqual(
    opened.map(({ token }) => token),
    ['Bearer 1', 'Bearer 2'],
  )
})

test('A token that was never good, and whatever else is wrong, is thrown, and nothing is tried again.', async () => {
  const json = { status: 401, headers: { 'content-type': 'application/json' } }
  for (const [code, answer] of Object.entries({
    UNAUTHENTICATED: refused('UNAUTHENTICATED'),
    FORBIDDEN: told('one') + refused('FORBIDDEN'),
    BAD_USER_INPUT: new Response('{"errors":[{"message":"No.","extensions":{"code":"BAD_USER_INPUT"}}]}', json),
    INTERNAL_SERVER_ERROR: new Response('<h1>Not Found</h1>', { status: 404 }),
  })) {
    const { names, opened } = following([answer, told('never')])
    await assert.rejects(names(), { name: 'ApiError', code })
    assert.equal(opened.length, 1)
  }
})

test('Whoever leaves the loop closes the connection.', async () => {
  const { client, opened } = following([told('one', 'two')])
  for await (const { viewerUpdated } of client.follow(ViewerUpdatedDocument)) {
    assert.equal(viewerUpdated.user?.name, 'one')
    break
  }
  assert.equal(opened[0]?.signal.aborted, true)
  assert.equal(opened.length, 1)
})

test('An aborted signal ends it quietly, while it waits for a connection, too.', async () => {
  const { names, leaving } = following([told('one')])
  const all = names()
  setTimeout(() => leaving.abort(), 20)
  assert.deepEqual(await all, ['one'])
  assert.deepEqual(await names(AbortSignal.abort()), [])
})

test('A connection that says nothing any more is given up for another.', async (context) => {
  context.mock.timers.enable({ apis: ['setTimeout'] })
  const { names, opened } = following([told('one') + SILENCE, told('two') + COMPLETE])
  const all = names()
  for (let second = 0; second < 40; second += 1) {
    await new Promise(setImmediate)
    context.mock.timers.tick(1000)
  }
  assert.equal(opened.length, 2)
  assert.deepEqual(await all, ['one', 'two'])
  assert.equal(opened[0]?.signal.aborted, true)
})
