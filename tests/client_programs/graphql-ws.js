// Plays one scene with the client of graphql-ws against the server whose address is given, and prints the results.

import { createClient } from 'graphql-ws'
import WebSocket from 'ws'

const [url, scene, ...tokens] = process.argv.slice(2)
const CREDITS = 'subscription { viewerUpdated { user { credits } } }'
const CREATE = `mutation($key: String!) {
  createVideoData(input: { title: "Whales", videoStyle: "realistic", idempotencyKey: $key }) {
    ... on CreateVideoDataSuccess { user { credits } }
  }
}`

const closes = []
const client = createClient({
  url,
  webSocketImpl: WebSocket,
  // What an app does: take the token that is good now, whenever it connects.
  connectionParams: () => ({ Authorization: `Bearer ${tokens.length > 1 ? tokens.shift() : tokens[0]}` }),
  retryAttempts: 1000,
  retryWait: () => new Promise((resolve) => setTimeout(resolve, 20)),
  shouldRetry: () => true, // A server that is being restarted refuses connections for a while.
  on: { closed: ({ code, reason }) => closes.push([code, reason]) },
})

const run = async (query, variables) => (await client.iterate({ query, variables }).next()).value

const failure = async (query, variables) => {
  try {
    return await run(query, variables)
  } catch (errors) {
    return errors.map(({ extensions }) => extensions.code)
  }
}

const credits = ({ value }) => value.data.viewerUpdated.user.credits

const scenes = {
  async operations() {
    const results = { queried: await run('{ viewer { credits } }') }
    const followed = client.iterate({ query: CREDITS })
    results.first = credits(await followed.next())
    results.created = await run(CREATE, { key: '1' })
    results.second = credits(await followed.next())
    await followed.return()
    results.syntax = await failure('{')
    results.unknown = await failure('{ nothing }')
    results.refused = await run('{ users { nodes { id } } }')
    results.left = (await followed.next()).done
    results.again = await run('{ viewer { credits } }')
    return results
  },

  // A subscription goes on by itself on the next connection.
  async returning() {
    const followed = client.iterate({ query: CREDITS })
    const results = [credits(await followed.next())]
    await run(CREATE, { key: 'before' }).catch(() => undefined)
    while (results.at(-1) !== 8) results.push(credits(await followed.next()))
    await followed.return()
    return results
  },
}

const results = await scenes[scene]()
await client.dispose()
console.log(JSON.stringify({ results, closes }))
