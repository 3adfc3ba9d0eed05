/** Where keys outlive a reload: `sessionStorage`, `localStorage`, or anything else with these three methods. */
export interface KeyStorage {
  getItem(name: string): string | null
  setItem(name: string, value: string): void
  removeItem(name: string): void
}

export interface IdempotencyKeys {
  /**
   * Runs what is sent under the intent's key: the same one after a double click, a failure or a reload, for as long as
   * no answer is known. Success and refusal are answers; what throws leaves the key for the next try.
   *
   * An intent is what the user wants once: `'create'`, or `` `retry ${video.id} ${video.attempt}` ``.
   */
  use<Answer>(intent: string, send: (idempotencyKey: string) => Promise<Answer>): Promise<Answer>
}

const PREFIX = 'videocredits:'

/**
 * Keeps an idempotency key for each intent, in `sessionStorage` if not said otherwise: each tab has its own intents.
 * Where the browser lets nothing be stored, keys last as long as the page.
 */
export function idempotencyKeys(storage: KeyStorage | undefined = sessionStorageIfAny()): IdempotencyKeys {
  const inMemory = new Map<string, string>() // Of those that could not be stored.

  const keptKey = (name: string): string | null | undefined =>
    inMemory.get(name) ?? attempt(() => storage?.getItem(name))

  const take = (name: string): string => {
    const kept = keptKey(name)
    if (kept) return kept
    const key = newKey()
    attempt(() => storage?.setItem(name, key))
    if (keptKey(name) !== key) inMemory.set(name, key)
    return key
  }

  const drop = (name: string, key: string): void => {
    if (keptKey(name) !== key) return // A later click has a key of its own by now.
    inMemory.delete(name)
    attempt(() => storage?.removeItem(name))
  }

  return {
    async use(intent, send) {
      const name = PREFIX + intent
      const key = take(name)
      const answer = await send(key)
      drop(name, key)
      return answer
    },
  }
}

function sessionStorageIfAny(): KeyStorage | undefined {
  return attempt(() => globalThis.sessionStorage) // In a sandboxed frame, looking at it throws.
}

/** Storage may be full or forbidden at any time, which must keep nobody from making a video. */
function attempt<Value>(access: () => Value): Value | undefined {
  try {
    return access()
  } catch {
    return undefined
  }
}

/** 128 random bits. `crypto.randomUUID` is not there on pages without https. */
function newKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
