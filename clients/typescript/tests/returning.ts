// Follows the balance and the ledger while the server is stopped and started, and prints what was told.

import {
  createClient,
  CreateVideoDataDocument,
  CreditEntryAddedDocument,
  StatementDocument,
  ViewerUpdatedDocument,
} from '@videocredits/client'

const [url = '', token = ''] = process.argv.slice(2)
const client = createClient({ url, token, retry: { firstWait: 20, longestWait: 50 } })
const leaving = new AbortController()
const { signal } = leaving

const statement = await client.request(StatementDocument, { first: 1 })
let after = statement.viewer?.creditEntries.edges[0]?.cursor
const numbers: number[] = []
const balances: (number | undefined)[] = []

async function followLedger(): Promise<void> {
  for await (const { creditEntryAdded } of client.follow(CreditEntryAddedDocument, () => ({ after }), { signal })) {
    after = creditEntryAdded.cursor
    numbers.push(creditEntryAdded.node.number)
  }
}

async function followBalance(): Promise<void> {
  for await (const { viewerUpdated } of client.follow(ViewerUpdatedDocument, {}, { signal })) {
    balances.push(viewerUpdated.user?.credits)
  }
}

const following = [followLedger(), followBalance()]
const until = async (balance: number, entries: number) => {
  while (balances.at(-1) !== balance || numbers.length < entries) await new Promise((resolve) => setTimeout(resolve, 5))
}
await until(10, 0)
await client.request(CreateVideoDataDocument, {
  input: { title: 'Whales', videoStyle: 'realistic', idempotencyKey: 'before' },
})
await until(8, 2)
leaving.abort()
await Promise.all(following)
console.log(JSON.stringify({ numbers, first: balances[0], last: balances.at(-1) }))
