// What is sent again, and what is not, with a fetch that answers as it is told to.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { ApiError, createClient, CreateVideoDataDocument, retrying, ViewerDocument } from '@videocredits/client'

const ANSWER = { data: { viewer: null } }
const RETRY = { data: null, errors: [{ message: 'Again.', extensions: { code: 'RETRY' } }] }

function answer(content: unknown, status = 200, headers: Record<string, string> = {}): () => Response {
  const type = { 'content-type': 'application/graphql-response+json; charset=utf-8' }
  return () => new Response(JSON.stringify(content), { status, headers: { ...type, ...headers } })
}

function lost(): Response {
  throw new TypeError('fetch failed')
}

function cut(): Response {
  const body = new ReadableStream({ pull: (controller) => controller.error(new TypeError('terminated')) })
  return new Response(body, { headers: { 'content-type': 'application/json' } })
}

function proxy(): Response {
  return new Response('<h1>Bad Gateway</h1>', { status: 502, headers: { 'content-type': 'text/html' } })
}

/** Answers so, one after the other, the last one forever, and notes what was sent. */
function answering(...answers: (() => Response)[]) {
  const sent: unknown[] = []
  const send: typeof fetch = async (_, init) => {
    init?.signal?.throwIfAborted()
    sent.push(init?.body)
    const [next = lost] = answers.length > 1 ? answers.splice(0, 1) : answers
    return next()
  }
  const client = createClient({ url: 'http://localhost/graphql', fetch: send, retry: { firstWait: 1, longestWait: 2 } })
  return { sent, send, client }
}

for (const [what, first] of Object.entries({
  'a lost connection': lost,
  'a connection lost within the answer': cut,
  'the page of a proxy': proxy,
  'RETRY with 503': answer(RETRY, 503, { 'retry-after': '1' }),
  'RETRY with 200': answer(RETRY),
  'RETRY with 408': answer(RETRY, 408),
})) {
  test(`After ${what} the very same is sent again.`, async () => {
    const { sent, client } = answering(first, first, answer(ANSWER))
    const input = { title: 'Whales', videoStyle: 'realistic', idempotencyKey: 'key' }
    assert.deepEqual(await client.execute(CreateVideoDataDocument, { input }), ANSWER)
    assert.equal(sent.length, 3)
    assert.equal(new Set(sent).size, 1)
    assert.equal(JSON.parse(sent[0] as string).variables.input.idempotencyKey, 'key')
  })
}

test('What does not come right is given up after so many attempts, with what was wrong last.', async () => {
  const nothing = answering(lost)
  await assert.rejects(nothing.client.request(ViewerDocument), { name: 'TypeError', message: 'fetch failed' })
  assert.equal(nothing.sent.length, 5)
  const busy = answering(answer(RETRY, 503))
  await assert.rejects(busy.client.request(ViewerDocument), (error) => error instanceof ApiError && error.code === 'RETRY')
  assert.equal(busy.sent.length, 5)
  const away = answering(proxy)
  await assert.rejects(away.client.request(ViewerDocument), { name: 'Error', message: /502/ })
})

test('Other errors are not sent again.', async () => {
  const errors = [{ message: 'No.', extensions: { code: 'BAD_USER_INPUT', fields: ['title'] } }]
  const { sent, client } = answering(answer({ errors }, 400))
  await assert.rejects(client.request(ViewerDocument), { name: 'ApiError', code: 'BAD_USER_INPUT', message: 'No.', errors })
  assert.equal(sent.length, 1)
})

test('An answer with data is an answer, whatever else it says.', async () => {
  const partial = { data: { viewer: { credits: 1 } }, errors: RETRY.errors }
  const { sent, client } = answering(answer(partial))
  assert.deepEqual(await client.execute(ViewerDocument), partial)
  assert.equal(sent.length, 1)
})

test('An address without GraphQL is no matter of patience.', async () => {
  const { sent, client } = answering(() => new Response('<h1>Not Found</h1>', { status: 404 }))
  await assert.rejects(client.request(ViewerDocument), { name: 'ApiError', message: /404/ })
  assert.equal(sent.length, 1)
})

test('Whoever leaves while it waits is let go at once, and nothing more is sent.', async () => {
  const { sent, send } = answering(lost)
  const patient = retrying(send, { firstWait: 2 ** 30, longestWait: 2 ** 30 })
  const leaving = new AbortController()
  const waiting = patient('http://localhost/graphql', { signal: leaving.signal })
  setImmediate(() => leaving.abort(new Error('left')))
  await assert.rejects(waiting, { message: 'left' })
  assert.equal(sent.length, 1)
})

test('A signal that was aborted before sends nothing.', async () => {
  const { sent, client } = answering(answer(ANSWER))
  await assert.rejects(client.request(ViewerDocument, {}, { signal: AbortSignal.abort() }), { name: 'AbortError' })
  assert.equal(sent.length, 0)
})

test('The token is asked for at each request.', async () => {
  const given = ['first', 'second']
  const used: (string | null)[] = []
  const client = createClient({
    url: 'http://localhost/graphql',
    token: async () => given.shift() ?? '',
    fetch: async (_, init) => {
      used.push(new Headers(init?.headers).get('authorization'))
      return answer(ANSWER)()
    },
  })
  await client.request(ViewerDocument)
  await client.request(ViewerDocument)
  assert.deepEqual(used, ['Bearer first', 'Bearer second'])
})
