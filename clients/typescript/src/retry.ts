/** How often, and how patiently, a request is sent again. */
export interface RetryOptions {
  /** How often at most it is sent, the first time counted. */
  readonly attempts: number
  /** The longest wait before the second attempt, in milliseconds; it doubles with each more. Chance shortens each. */
  readonly firstWait: number
  /** The longest wait of all, in milliseconds, also of those that the server asks for. */
  readonly longestWait: number
}

const DEFAULTS: RetryOptions = { attempts: 5, firstWait: 300, longestWait: 10_000 }

/** What proxies answer when they reach no server, and the server when it has too much to do. */
export const PASSING_STATUSES: ReadonlySet<number> = new Set([502, 503, 504])

/**
 * Makes a `fetch` that sends the very same request again, byte for byte, when nothing answered or the answer was
 * `RETRY`. What is sent so must be safe to repeat: queries, and mutations under their idempotency keys, are.
 * Streams are handed on as soon as they begin.
 */
export function retrying(send: typeof fetch = fetch, options: Partial<RetryOptions> = {}): typeof fetch {
  const { attempts, longestWait } = { ...DEFAULTS, ...options }
  return async (input, init) => {
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined)
    for (let failures = 0; ; failures += 1) {
      const last = failures + 1 >= attempts
      let asked = 0
      try {
        const [response, passing] = await readWhole(await send(input instanceof Request ? input.clone() : input, init))
        if (!passing || last) return response
        asked = Number(response.headers.get('retry-after') ?? 0) * 1000 || 0
      } catch (error) {
        if (last || signal?.aborted) throw error
      }
      await sleep(Math.min(asked, longestWait) + backoff(failures, options), signal)
    }
  }
}

/** Reads an answer to its end, where the connection may yet fail, and tells whether it says to send again. */
async function readWhole(response: Response): Promise<[Response, boolean]> {
  if (!(response.headers.get('content-type') ?? '').includes('json')) {
    return [response, PASSING_STATUSES.has(response.status)]
  }
  const text = await response.text()
  const { status, statusText, headers } = response
  return [new Response(text, { status, statusText, headers }), PASSING_STATUSES.has(status) || saysRetry(text)]
}

function saysRetry(text: string): boolean {
  if (!text.includes('"RETRY"')) return false
  try {
    const { data, errors } = JSON.parse(text)
    return !data && errors.some((error: { extensions?: { code?: unknown } }) => error.extensions?.code === 'RETRY')
  } catch {
    return false
  }
}

/** How long to wait after so many failures in a row, in milliseconds. */
export function backoff(failures: number, options: Partial<RetryOptions> = {}): number {
  const { firstWait, longestWait } = { ...DEFAULTS, ...options }
  return Math.random() * Math.min(longestWait, firstWait * 2 ** failures)
}

/** Waits, and throws the signal's reason as soon as it is aborted. */
export function sleep(milliseconds: number, signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', leave)
      resolve()
    }, milliseconds)
    if (signal?.aborted) leave()
    else signal?.addEventListener('abort', leave, { once: true })
  })
}
