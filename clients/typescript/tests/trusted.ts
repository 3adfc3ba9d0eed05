// Speaks to a server that answers trusted documents only, directly and through each library, and prints what it said.

import { ApolloClient, InMemoryCache } from '@apollo/client'
import { QueryClient } from '@tanstack/query-core'
import { cacheExchange, Client } from '@urql/core'
import { ApiError, createClient, CreateVideoDataDocument, ViewerDocument, ViewerUpdatedDocument } from '@videocredits/client'
import { apolloLink, cacheConfig } from '@videocredits/client/apollo'
import { tanstackOptions } from '@videocredits/client/tanstack'
import { urqlExchange } from '@videocredits/client/urql'

const [url = '', token = ''] = process.argv.slice(2)
const client = createClient({ url, token, trustedDocuments: true })

const forbidden = await createClient({ url, token })
  .request(ViewerDocument)
  .catch((error: unknown) => (error instanceof ApiError ? error.code : error))

const input = { title: 'Whales', videoStyle: 'realistic', idempotencyKey: 'trusted' }
const { createVideoData: created } = await client.request(CreateVideoDataDocument, { input })
const followed = client.follow(ViewerUpdatedDocument)
const { value } = await followed.next()
await followed.return()

const apollo = new ApolloClient({ link: apolloLink(client), cache: new InMemoryCache(cacheConfig) })
const byApollo = await apollo.query({ query: ViewerDocument })
const urql = new Client({ url, preferGetMethod: false, exchanges: [cacheExchange, urqlExchange(client)] })
const byUrql = await urql.query(ViewerDocument, {})
const byTanstack = await new QueryClient().fetchQuery(tanstackOptions(client).query(ViewerDocument, {}))

console.log(
  JSON.stringify({
    forbidden,
    created: created.__typename,
    followed: value?.viewerUpdated.user?.credits,
    apollo: byApollo.data?.viewer?.credits,
    urql: byUrql.data?.viewer?.credits ?? byUrql.error?.message,
    tanstack: byTanstack.viewer?.credits,
  }),
)
process.exit()
