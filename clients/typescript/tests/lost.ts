// Creates videos over a network that loses answers, through a reload, and without credits; prints what was answered.

import { createClient, CreateVideoDataDocument, idempotencyKeys } from '@videocredits/client'

const [url = '', token = '', poor = ''] = process.argv.slice(2)
const kept = new Map<string, string>()
const session = {
  getItem: (name: string) => kept.get(name) ?? null,
  setItem: (name: string, value: string) => void kept.set(name, value),
  removeItem: (name: string) => void kept.delete(name),
}
const sent: string[] = []

/** Does what is asked, so often without letting the answer through. */
function losing(answers: number): typeof fetch {
  return async (input, init) => {
    sent.push(JSON.parse(init?.body as string).variables.input.idempotencyKey)
    const response = await fetch(input, init)
    if (answers-- > 0) throw new TypeError('fetch failed')
    return response
  }
}

/** A page, as it is after each load: it knows what is stored, and nothing else. */
async function click(answersLost: number, as = token) {
  const client = createClient({ url, token: as, fetch: losing(answersLost), retry: { attempts: 2, firstWait: 1 } })
  const create = (idempotencyKey: string) =>
    client.request(CreateVideoDataDocument, { input: { title: 'Whales', videoStyle: 'realistic', idempotencyKey } })
  sent.length = 0
  const told = await idempotencyKeys(session)
    .use('create', create)
    .then(
      ({ createVideoData: result }) => ('user' in result ? [result.replayed, result.user.credits] : result),
      (error) => error.message,
    )
  return { told, sent: sent.length, keys: [...new Set(sent)], kept: [...kept.values()] }
}

const once = await click(1)
const never = await click(2)
const reloaded = await click(0)
const refused = await click(0, poor)
console.log(JSON.stringify({ once, never, reloaded, refused }))
