// Plays GraphiQL around the fetcher that its page has for subscriptions, and prints what each tab was told.

import { readFileSync } from 'node:fs'

const [url, page, token] = process.argv.slice(2)
const [fetcher] = readFileSync(page, 'utf8').match(/const read = async[\s\S]*?(?=const fetchOnce)/)
const follow = new Function('location', `${fetcher}; return follow`)({ pathname: url })
const headers = { Authorization: `Bearer ${token}` }
const CREDITS = { query: 'subscription { viewerUpdated { user { credits } } }' }
const CREATE = `mutation {
  createVideoData(input: { title: "Two\\n\\nlines", videoStyle: "realistic", idempotencyKey: "1" }) { __typename }
}`

const create = () =>
  fetch(url, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({ query: CREATE }),
  })

// Runs a tab until it is over, or has been told so much, and is stopped.
const run = (request, headers, enough = Infinity, meanwhile = () => undefined) =>
  new Promise((resolve) => {
    const told = []
    const end = (how) => resolve({ told, how })
    const subscription = follow(request, headers).subscribe({
      next: (result) => {
        told.push(result)
        if (told.length < enough) return meanwhile()
        subscription.unsubscribe()
        setTimeout(() => end('stopped'), 50)
      },
      complete: () => end('complete'),
      error: ({ message }) => end(message),
    })
  })

console.log(
  JSON.stringify({
    live: await run(CREDITS, headers, 2, create),
    page: await run({ query: 'subscription { videosUpdated { nodes { title } } }' }, headers, 1),
    over: await run({ query: 'subscription { videoDataUpdated(id: "x") { id } }' }, headers),
    refused: await run(CREDITS, { Authorization: 'Bearer x' }),
  }),
)
