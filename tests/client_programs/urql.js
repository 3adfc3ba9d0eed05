// Follows the balance with urql, beside a query and a mutation, and prints what was told, and in which types.

import { Client, fetchExchange } from '@urql/core'

const [url, token] = process.argv.slice(2)
const types = []
const client = new Client({
  url,
  exchanges: [fetchExchange],
  fetchSubscriptions: true,
  preferGetMethod: false,
  fetchOptions: { headers: { authorization: `Bearer ${token}` } },
  fetch: async (...request) => {
    const response = await fetch(...request)
    types.push(response.headers.get('content-type'))
    return response
  },
})
const CREATE = `mutation {
  createVideoData(input: { title: "Whales", videoStyle: "realistic", idempotencyKey: "1" }) {
    ... on CreateVideoDataSuccess { user { credits } }
  }
}`

const queried = await client.query('{ viewer { credits } }', {}).toPromise()
const told = []
let creating
await new Promise((resolve) => {
  const followed = client.subscription('subscription { viewerUpdated { user { credits } } }', {}).subscribe(({ data }) => {
    told.push(data.viewerUpdated.user.credits)
    if (told.length === 1) creating = client.mutation(CREATE, {}).toPromise()
    if (told.at(-1) === 9) {
      setTimeout(() => resolve(followed.unsubscribe()))
    }
  })
})
// The change may be told before the mutation that made it is answered.
const created = await creating
const refused = await new Promise((resolve) => {
  client.subscription('subscription { nothing }', {}).subscribe(({ error }) => error && resolve(error.graphQLErrors[0].extensions.code))
})
console.log(JSON.stringify({ queried: queried.data, told, created: created.data, refused, types }))
