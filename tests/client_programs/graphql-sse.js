// Plays one scene with the client of graphql-sse against the server whose address is given, and prints what it was told.

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
    const told = { queried: await run('{ viewer { credits } }') }
    const followed = client.iterate({ query: CREDITS })
    told.first = credits(await followed.next())
    told.created = await run(CREATE, { key: '1' })
    told.second = credits(await followed.next())
    await followed.return()
    told.syntax = await codes('{')
    told.unknown = await codes('subscription { nothing }')
    told.refused = await codes('{ users { nodes { id } } }')
    told.ended = []
    for await (const each of client.iterate({ query: 'subscription { videoDataUpdated(id: "x") { id } }' })) {
      told.ended.push(each)
    }
    return told
  },

  // A subscription goes on by itself on the next connection.
  async returning() {
    const followed = client.iterate({ query: CREDITS })
    const told = [credits(await followed.next())]
    await run(CREATE, { key: 'before' })
    while (told.at(-1) !== 8) told.push(credits(await followed.next()))
    await followed.return()
    return { told, connected }
  },
}

console.log(JSON.stringify(await scenes[scene]()))
client.dispose()
