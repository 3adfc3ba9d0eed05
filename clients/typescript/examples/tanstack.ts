import { MutationObserver, QueryClient, QueryObserver } from '@tanstack/query-core'
import {
  createClient,
  CreateVideoDataDocument,
  idempotencyKeys,
  ViewerDocument,
  ViewerUpdatedDocument,
} from '@videocredits/client'
import { tanstackOptions } from '@videocredits/client/tanstack'

import { end, show, token, until, url } from './page.js'

const client = createClient({ url, token: async () => token })
const queries = new QueryClient()
const options = tanstackOptions(client)
const keys = idempotencyKeys()

// In React: `useQuery(options.query(ViewerDocument, {}))`.
function showBalance(): void {
  new QueryObserver(queries, options.query(ViewerDocument, {})).subscribe(({ data }) => show(data?.viewer?.credits))
}

// In React: `useMutation(options.mutation(CreateVideoDataDocument, queries))`. Its answer changes the balance on screen.
async function create(title: string): Promise<void> {
  const creation = new MutationObserver(queries, options.mutation(CreateVideoDataDocument, queries))
  await keys.use('create', (idempotencyKey) =>
    creation.mutate({ input: { title, videoStyle: 'realistic', idempotencyKey } }),
  )
}

// In React: `useQuery(options.live(ViewerUpdatedDocument, {}))`, for as long as the component is there.
function follow(): () => void {
  return new QueryObserver(queries, options.live(ViewerUpdatedDocument, {})).subscribe(() => undefined)
}

// The example, played with ten credits, of which another tab spends one, too.
showBalance()
await until(10)
await create('Whales')
await until(9)
const leave = follow()
await client.request(CreateVideoDataDocument, {
  input: { title: 'Whales', videoStyle: 'realistic', idempotencyKey: 'another tab' },
})
await until(8)
leave()
end()
