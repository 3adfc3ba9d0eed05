import type { TypedDocumentNode } from '@graphql-typed-document-node/core'
import { type DocumentNode, Kind, print } from 'graphql'

import { newestIn, updated, type Versioned } from './newest.js'
import { backoff, PASSING_STATUSES, retrying, type RetryOptions, sleep } from './retry.js'

/** An error beside the data, or instead of it: not a refusal, which is data. */
export interface ResponseError {
  readonly message: string
  readonly path?: readonly (string | number)[]
  readonly extensions?: { readonly code?: string; readonly errorId?: string; readonly [detail: string]: unknown }
}

/** What the server answered to an operation. */
export interface Answer<Data> {
  readonly data?: Data | null
  readonly errors?: readonly ResponseError[]
}

/** The server answered with errors: `code` says which, such as `UNAUTHENTICATED`, `FORBIDDEN` or `BAD_USER_INPUT`. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly errors: readonly ResponseError[]

  constructor(errors: readonly ResponseError[]) {
    super(errors.map(({ message }) => message).join(' '))
    this.errors = errors
  }

  /** The first error's code; the errors of one answer mostly have the same. */
  get code(): string {
    return this.errors[0]?.extensions?.code ?? 'INTERNAL_SERVER_ERROR'
  }
}

export interface ClientOptions {
  /** The server's address, such as `https://api.example.com/graphql`. */
  readonly url: string
  /** The bearer token, or what gives one that is good now: it is asked at each request, and each time a stream connects. */
  readonly token?: string | (() => string | Promise<string>)
  /** Sends each document's id instead of its text, for a server that has persisted-documents.json. */
  readonly trustedDocuments?: boolean
  readonly retry?: Partial<RetryOptions>
  readonly fetch?: typeof fetch
}

/** An operation of this package, of graphql-codegen's, or of gql.tada's. */
export type Operation<Data, Variables> = TypedDocumentNode<Data, Variables>

/** Variables, which may be left out when an operation needs none, and options. */
type Rest<Variables, Options> =
  Record<string, never> extends Variables
    ? [variables?: Variables | undefined, options?: Options]
    : [variables: Variables, options?: Options]

export interface RequestOptions {
  readonly signal?: AbortSignal | undefined
}

export interface Client {
  /** Runs a query or mutation and returns its data; throws an ApiError, or what `fetch` throws when nothing answers. */
  request<Data, Variables>(
    operation: Operation<Data, Variables>,
    ...rest: Rest<Variables, RequestOptions>
  ): Promise<Data>

  /**
   * Follows a subscription: yields the present state, then each newer one, whatever becomes of connections meanwhile.
   * Variables that are a function are asked for anew at each connection. Ends with the subscription or when the signal
   * is aborted; throws an ApiError for what will not pass by itself.
   */
  follow<Data, Variables>(
    operation: Operation<Data, Variables>,
    ...rest: Rest<Variables | (() => Variables), RequestOptions>
  ): AsyncGenerator<Data, void, undefined>

  /** Runs a query or mutation and returns the whole answer, with data and errors side by side; for adapters. */
  execute<Data, Variables>(
    operation: Operation<Data, Variables>,
    variables?: Variables,
    options?: RequestOptions,
  ): Promise<Answer<Data>>
}

/** Makes a client that sends again what may be sent again: the same request, so with the same idempotency key. */
export function createClient(options: ClientOptions): Client {
  const patient = retrying(options.fetch, options.retry)
  const once = options.fetch ?? fetch
  const newest = new Map<string, Versioned>()

  /** Answers overtake each other: brings one that is older than what was told before up to date. */
  const current = <Data>(operation: DocumentNode, data: Data): Data => {
    if (JSON.stringify(operation).includes('"alias":{')) return data // A name may mean another field there.
    const now = updated(data, newest)
    newestIn(data, newest)
    for (const id of newest.keys()) {
      if (newest.size <= REMEMBERED_MAX) break
      newest.delete(id)
    }
    return now
  }

  const request = async (
    operation: DocumentNode,
    variables: unknown,
    accept: string,
    signal: AbortSignal | undefined,
  ): Promise<[string, RequestInit]> => {
    const token = typeof options.token === 'function' ? await options.token() : options.token
    return [
      options.url,
      {
        method: 'POST',
        headers: {
          accept,
          'content-type': 'application/json',
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        body: JSON.stringify({ ...named(operation, options.trustedDocuments ?? false), variables: variables ?? {} }),
        signal: signal ?? null,
      },
    ]
  }

  const client: Client = {
    async execute(operation, variables, { signal } = {}) {
      const response = await patient(...(await request(operation, variables, JSON_TYPES, signal)))
      return current(operation, await read(response))
    },

    async request(operation, ...[variables, settings]) {
      const { data, errors } = await client.execute(operation, variables, settings)
      if (errors) throw new ApiError(errors)
      return data as NonNullable<typeof data>
    },

    async *follow(operation, ...[variables, { signal } = {}]) {
      for (let failures = 0; !signal?.aborted; failures += 1) {
        // Leaving the loop over this generator must close the connection, too.
        const connection = new AbortController()
        const leave = (): void => connection.abort()
        signal?.addEventListener('abort', leave)
        let told = false
        try {
          const given = typeof variables === 'function' ? (variables as () => unknown)() : variables
          const response = await once(...(await request(operation, given, EVENT_STREAM, connection.signal)))
          if (!isOf(response, EVENT_STREAM)) throw await refusedStream(response)
          for await (const { event, data } of eventsOf(response, leave)) {
            if (event === 'complete') return
            if (event !== 'next') continue
            const result = JSON.parse(data)
            if (result.errors) throw new ApiError(result.errors)
            told = true
            failures = 0
            yield current(operation, result).data
          }
          // The stream broke off without its end: the server is being stopped, and another may already be there.
        } catch (error) {
          if (signal?.aborted) return
          if (error instanceof ApiError && !passes(error, told)) throw error
        } finally {
          signal?.removeEventListener('abort', leave)
          leave()
        }
        await sleep(backoff(failures, options.retry), signal).catch(() => undefined)
      }
    },
  }
  return client
}

const JSON_TYPES = 'application/graphql-response+json, application/json;q=0.9'
const EVENT_STREAM = 'text/event-stream'
const SILENCE_MAX = 30_000 // In milliseconds. The server gives a sign of life each 12 seconds.
const REMEMBERED_MAX = 500 // Objects: more than are on one screen.

function isOf(response: Response, type: string): boolean {
  return (response.headers.get('content-type') ?? '').startsWith(type)
}

function named(operation: DocumentNode & { __meta__?: { hash?: string } }, trusted: boolean): object {
  if (trusted && operation.__meta__?.hash !== undefined) return { documentId: operation.__meta__.hash }
  return { query: print(operation), operationName: nameOf(operation) }
}

/** An operation's name; undefined if it has none. */
export function nameOf(operation: DocumentNode): string | undefined {
  return operation.definitions.find((each) => each.kind === Kind.OPERATION_DEFINITION)?.name?.value
}

/** Reads what GraphQL answered, whatever the status; anything else is a failure of what stands between. */
async function read<Data>(response: Response): Promise<Answer<Data>> {
  const answer = await response.json().catch(() => undefined)
  if (answer?.data !== undefined || answer?.errors !== undefined) return answer
  if (PASSING_STATUSES.has(response.status)) throw new Error(`There was no answer but a status: ${response.status}.`)
  throw new ApiError([{ message: `There is no GraphQL at this address: it answered ${response.status}.` }])
}

/** What is wrong with what should have been a stream; no ApiError when there was only no place for one more. */
async function refusedStream(response: Response): Promise<Error> {
  if (response.status === 429) return new Error('There are too many streams.')
  const { errors } = await read(response)
  return new ApiError(errors ?? [{ message: 'The server answered a subscription with no stream.' }])
}

/** Whether what ended a stream passes: too much to do now, or a token that was good when the stream began. */
function passes({ code }: ApiError, told: boolean): boolean {
  return code === 'RETRY' || (told && code === 'UNAUTHENTICATED')
}

interface ServerSentEvent {
  readonly event: string
  readonly data: string
}

/** Reads a stream's events, and leaves it when it is silent for longer than the server ever is. */
async function* eventsOf(response: Response, leave: () => void): AsyncGenerator<ServerSentEvent> {
  const reader = response.body?.getReader()
  const decoder = new TextDecoder()
  let text = ''
  for (;;) {
    const silence = setTimeout(leave, SILENCE_MAX)
    const { done, value } = (await reader?.read().finally(() => clearTimeout(silence))) ?? { done: true }
    if (done) return
    const blocks = (text + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/)
    text = blocks.pop() ?? ''
    for (const block of blocks) {
      const lines = block.split(/\r?\n/).map((line) => /^(event|data):? ?(.*)/.exec(line))
      const of = (field: string): string =>
        lines
          .filter((line) => line?.[1] === field)
          .map((line) => line?.[2])
          .join('\n')
      yield { event: of('event'), data: of('data') }
    }
  }
}
