// Follows the balance with urql, beside a query and a mutation, and prints the results and their media types.

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
const results = []
let creating
await new Promise((resolve) => {
  const followed = client.subscription('subscription { viewerUpdated { user { credits } } }', {}).subscribe(({ data }) => {
    results.push(data.viewerUpdated.user.credits)
    if (results.length === 1) creating = client.mutation(CREATE, {}).toPromise()
    if (results.at(-1) === 9) {
      setTimeout(() => resolve(followed.unsubscribe()))
    }
  })
})
// The change may arrive before the response of its mutation.
const created = await creating
const refused = await new Promise((resolve) => {
  client.subscription('subscription { nothing }', {}).subscribe(({ error }) => error && resolve(error.graphQLErrors[0].extensions.code))
})
console.log(JSON.stringify({ queried: queried.data, results, created: created.data, refused, types }))
