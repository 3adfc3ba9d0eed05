import { ApolloClient, InMemoryCache } from '@apollo/client'
import {
  createClient,
  CreateVideoDataDocument,
  idempotencyKeys,
  ViewerDocument,
  ViewerUpdatedDocument,
} from '@videocredits/client'
import { apolloLink, cacheConfig } from '@videocredits/client/apollo'

import { end, show, token, until, url } from './page.js'

const client = createClient({ url, token: async () => token })
const apollo = new ApolloClient({ link: apolloLink(client), cache: new InMemoryCache(cacheConfig) })
const keys = idempotencyKeys()

function showBalance(): void {
  apollo.watchQuery({ query: ViewerDocument }).subscribe(({ data }) => show(data?.viewer?.credits))
}

// The answer holds the user, so the balance on screen changes by itself.
async function create(title: string): Promise<void> {
  await keys.use('create', (idempotencyKey) =>
    apollo.mutate({
      mutation: CreateVideoDataDocument,
      variables: { input: { title, videoStyle: 'realistic', idempotencyKey } },
    }),
  )
}

// So does what others change, as long as somebody follows: a component by `useSubscription(ViewerUpdatedDocument)`.
function follow(): void {
  apollo.subscribe({ query: ViewerUpdatedDocument }).subscribe({})
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
