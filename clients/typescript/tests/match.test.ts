// Results, handled by their types.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { match } from '@videocredits/client'

type Result = { __typename: 'Made'; id: string } | { __typename: 'Refused'; balance: number }
const cases = { Made: ({ id }: { id: string }) => id, Refused: ({ balance }: { balance: number }) => `${balance}` }

test('A member is handled by its own case.', () => {
  const results: Result[] = [
    { __typename: 'Made', id: 'a' },
    { __typename: 'Refused', balance: 3 },
  ]
  assert.deepEqual(
    results.map((result) => match(result, cases)),
    ['a', '3'],
  )
})

test('A member that this page does not know is an error, not a silence.', () => {
  const result = { __typename: 'New' } as unknown as Result
  assert.throws(() => match(result, cases), /older than what the server answers: \{"__typename":"New"\}/)
})
