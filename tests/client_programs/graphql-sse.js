// Plays one scene with the client of graphql-sse against the server whose address is given, and prints the results.

import { createClient } from 'graphql-sse'

const [url, scene, token] = process.argv.slice(2)
const CREDITS = 'subscription { viewerUpdated { user { credits } } }'
const CREATE = `mutation($key: String!) {
  createVideoData(input: { title: "Whales", videoStyle: "realistic", idempotencyKey: $key }) {
    ... on CreateVideoDataSuccess { user { credits } }
  }
}`

let connected = 0
const client = createClient({
  url,
  headers: () => ({ Authorization: `Bearer ${token}` }),
  retryAttempts: 1000,
  retry: () => new Promise((resolve) => setTimeout(resolve, 20)),
  on: { connected: () => (connected += 1) },
})

const run = async (query, variables) => (await client.iterate({ query, variables }).next()).value
const codes = async (query) => (await run(query)).errors.map(({ extensions }) => extensions.code)
const credits = ({ value }) => value.data.viewerUpdated.user.credits

const scenes = {
  async operations() {
    const results = { queried: await run('{ viewer { credits } }') }
    const followed = client.iterate({ query: CREDITS })
    results.first = credits(await followed.next())
    results.created = await run(CREATE, { key: '1' })
    results.second = credits(await followed.next())
    await followed.return()
    results.syntax = await codes('{')
    results.unknown = await codes('subscription { nothing }')
    results.refused = await codes('{ users { nodes { id } } }')
    results.ended = []
    for await (const each of client.iterate({ query: 'subscription { videoDataUpdated(id: "x") { id } }' })) {
      results.ended.push(each)
    }
    return results
  },

  // A subscription goes on by itself on the next connection.
  async returning() {
    const followed = client.iterate({ query: CREDITS })
    const results = [credits(await followed.next())]
    await run(CREATE, { key: 'before' })
    while (results.at(-1) !== 8) results.push(credits(await followed.next()))
    await followed.return()
    return { results, connected }
  },
}

console.log(JSON.stringify(await scenes[scene]()))
client.dispose()
