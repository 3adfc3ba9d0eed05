import { cacheExchange, Client } from '@urql/core'
import {
  createClient,
  CreateVideoDataDocument,
  idempotencyKeys,
  ViewerDocument,
  ViewerUpdatedDocument,
} from '@videocredits/client'
import { urqlExchange } from '@videocredits/client/urql'

import { end, show, token, until, url } from './page.js'

const client = createClient({ url, token: async () => token })
const urql = new Client({ url, preferGetMethod: false, exchanges: [cacheExchange, urqlExchange(client)] })
const keys = idempotencyKeys()

// urql asks again for what shows a user when a mutation has answered with one.
function showBalance(): void {
  urql.query(ViewerDocument, {}).subscribe(({ data }) => show(data?.viewer?.credits))
}

async function create(title: string): Promise<void> {
  await keys.use('create', async (idempotencyKey) => {
    const input = { title, videoStyle: 'realistic', idempotencyKey }
    const { data, error } = await urql.mutation(CreateVideoDataDocument, { input }).toPromise()
    if (error) throw error // urql throws nothing; without an answer the key must stay.
    return data?.createVideoData
  })
}

function follow(): void {
  urql.subscription(ViewerUpdatedDocument, {}).subscribe(({ data }) => show(data?.viewerUpdated.user?.credits))
}

// The example, played with ten credits, of which another tab spends one, too.
showBalance()
await until(10)
await create('Whales')
await until(9)
follow()
await client.request(CreateVideoDataDocument, {
  input: { title: 'Whales', videoStyle: 'realistic', idempotencyKey: 'another tab' },
})
await until(8)
end()
