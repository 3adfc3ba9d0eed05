// Turns the dashboard's pages with Apollo Client, and calls a video off that is done by then; prints what was shown.

import { ApolloClient, InMemoryCache } from '@apollo/client'
import {
  CancelVideoDataDocument,
  createClient,
  CreateVideoDataDocument,
  DashboardDocument,
  UpdateVideoRecordStatusDocument,
} from '@videocredits/client'
import { apolloLink, cacheConfig } from '@videocredits/client/apollo'

const [url = '', token = '', worker = ''] = process.argv.slice(2)
const client = createClient({ url, token })
const apollo = new ApolloClient({ link: apolloLink(client), cache: new InMemoryCache(cacheConfig) })

for (const title of ['one', 'two', 'three']) {
  await client.request(CreateVideoDataDocument, { input: { title, videoStyle: 'realistic', idempotencyKey: title } })
}
const asked = { query: DashboardDocument, variables: { first: 2 } }
const first = (await apollo.query(asked)).data?.viewer?.videos
const dashboard = apollo.watchQuery(asked)
const following = dashboard.subscribe({})
const shown = () =>
  apollo.readQuery(asked)?.viewer?.videos.edges.map(({ node }) => `${node.title} ${node.status}`)

const pages = [shown()]
await dashboard.fetchMore({ variables: { after: first?.pageInfo.endCursor ?? null } })
pages.push(shown())

const recordId = first?.edges[0]?.node.id ?? ''
await createClient({ url, token: worker }).request(UpdateVideoRecordStatusDocument, {
  input: { recordId, status: 'COMPLETED' },
})
const { data } = await apollo.mutate({ mutation: CancelVideoDataDocument, variables: { input: { recordId } } })
const refusal = data?.cancelVideoData
pages.push(shown())

following.unsubscribe()
console.log(JSON.stringify({ pages, refused: refusal?.__typename === 'IllegalTransition' && refusal.currentStatus }))
process.exit()
