// Follows the balance with Apollo Client's own link, beside a query that shows it, and prints the results of both.

import { ApolloClient, HttpLink, InMemoryCache, gql } from '@apollo/client'

const [url, token] = process.argv.slice(2)
const client = new ApolloClient({
  link: new HttpLink({ uri: url, headers: { authorization: `Bearer ${token}` } }),
  cache: new InMemoryCache(),
})
const CREDITS = gql`subscription { viewerUpdated { user { id credits } } }`
const VIEWER = gql`{ viewer { id credits } }`
const CREATE = gql`mutation {
  createVideoData(input: { title: "Whales", videoStyle: "realistic", idempotencyKey: "1" }) {
    ... on CreateVideoDataSuccess { videoData { id } }
  }
}`

// Settles when the observable has sent the expected result; `left` ends it.
const follow = (observable, read) => {
  const results = []
  let check = () => undefined
  const subscription = observable.subscribe({
    next: (result) => {
      results.push(read(result))
      check()
    },
    error: (error) => {
      results.push(error.name)
      check()
    },
  })
  const until = (last) =>
    new Promise((resolve) => {
      check = () => results.at(-1) === last && resolve()
      check()
    })
  return { results, until, leave: () => subscription.unsubscribe() }
}

const shown = follow(client.watchQuery({ query: VIEWER }), ({ data }) => data?.viewer?.credits ?? null)
await shown.until(10)
const live = follow(client.subscribe({ query: CREDITS }), ({ data }) => data.viewerUpdated.user.credits)
await live.until(10)
await client.mutate({ mutation: CREATE })
await live.until(9)
await shown.until(9) // Nobody asked again: the subscription's user is the query's, in the cache.
live.leave()
shown.leave()

const failure = async (query) => {
  const failed = follow(client.subscribe({ query }), ({ error }) => error.errors[0].extensions.code)
  while (failed.results.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  failed.leave()
  return failed.results[0]
}

const unknown = await failure(gql`subscription { nothing }`)
const refused = await failure(gql`subscription { creditEntryAdded(after: "x") { cursor } }`)
const ended = follow(client.subscribe({ query: gql`subscription { videoDataUpdated(id: "x") { id } }` }), ({ data }) =>
  JSON.stringify(data),
)
await ended.until('{"videoDataUpdated":null}')
console.log(JSON.stringify({ shown: shown.results, live: live.results, unknown, refused }))
client.stop()
