// One key for each intent, until there is an answer, with storage of every kind.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { idempotencyKeys, type KeyStorage } from '@videocredits/client'

function storage(kept = new Map<string, string>()): KeyStorage & { kept: Map<string, string> } {
  return {
    kept,
    getItem: (name) => kept.get(name) ?? null,
    setItem: (name, value) => void kept.set(name, value),
    removeItem: (name) => void kept.delete(name),
  }
}

const answered = async (key: string) => key
const lost = async () => {
  throw new TypeError('fetch failed')
}

/** Storage as it is where a browser forbids it, or where it is full. */
const forbidden: KeyStorage = { getItem: throwing, setItem: throwing, removeItem: throwing }
const full: KeyStorage = { ...storage(), setItem: throwing }

function throwing(): never {
  throw new Error('QuotaExceededError')
}

for (const [what, where] of Object.entries({ good: storage(), forbidden, full, none: undefined })) {
  test(`With ${what} storage a key lasts until there is an answer, and the next one is another.`, async () => {
    const keys = idempotencyKeys(where)
    const sent: string[] = []
    const note = (key: string) => {
      sent.push(key)
      return lost()
    }
    await assert.rejects(keys.use('create', note), TypeError)
    await assert.rejects(keys.use('create', note), TypeError)
    const last = await keys.use('create', answered)
    assert.deepEqual(sent, [last, last])
    assert.match(last, /^[0-9a-f]{32}$/)
    assert.notEqual(await keys.use('create', answered), last)
  })
}

test('A key survives a reload, and is removed when the answer is known.', async () => {
  const session = storage()
  let key = ''
  await assert.rejects(idempotencyKeys(session).use('create', async (each) => lost().catch((error) => {
    key = each
    throw error
  })))
  assert.deepEqual([...session.kept], [['videocredits:create', key]])
  assert.equal(await idempotencyKeys(session).use('create', answered), key)
  assert.equal(session.kept.size, 0)
})

test('Each intent has a key of its own.', async () => {
  const keys = idempotencyKeys(storage())
  const [one, other] = await Promise.all([keys.use('retry video_1 2', answered), keys.use('retry video_2 2', answered)])
  assert.notEqual(one, other)
})

test('A double click sends one key, and a late answer to it does not drop the next intent.', async () => {
  const session = storage()
  const keys = idempotencyKeys(session)
  const waiting: (() => void)[] = []
  const slow = (key: string) => new Promise<string>((resolve) => waiting.push(() => resolve(key)))
  const clicks = [keys.use('create', slow), keys.use('create', slow)]
  waiting[0]?.()
  const first = await clicks[0]
  const next = keys.use('create', slow)
  waiting[1]?.()
  assert.equal(await clicks[1], first)
  assert.equal(session.kept.size, 1)
  waiting[2]?.()
  assert.notEqual(await next, first)
  assert.equal(session.kept.size, 0)
})

test('A key that another component has used up is not used again.', async () => {
  const session = storage()
  const [one, other] = [idempotencyKeys(session), idempotencyKeys(session)]
  await assert.rejects(other.use('create', lost))
  const first = await one.use('create', answered)
  assert.notEqual(await other.use('create', answered), first)
})
