import type { QueryClient, QueryFunctionContext } from '@tanstack/query-core'

import { type Client, nameOf, type Operation } from './client.js'

type Key = readonly [name: string | undefined, variables: unknown]

/** What `useQuery`, `useMutation` and their like take, for a client of this package. */
export interface TanstackOptions {
  /** A query, asked once and again as TanStack Query decides. */
  query<Data, Variables>(
    operation: Operation<Data, Variables>,
    variables: Variables,
  ): { queryKey: Key; queryFn: (context: QueryFunctionContext) => Promise<Data>; retry: false }

  /** A subscription as a query: its data is the present state for as long as somebody looks. */
  live<Data, Variables>(
    operation: Operation<Data, Variables>,
    variables: Variables,
  ): { queryKey: Key; queryFn: (context: QueryFunctionContext) => Promise<Data>; retry: false; staleTime: number }

  /** A mutation, whose answer is brought to all queries that show the same objects. */
  mutation<Data, Variables>(
    operation: Operation<Data, Variables>,
    queries: QueryClient,
  ): { mutationFn: (variables: Variables) => Promise<Data>; retry: false }
}

/** Makes them. Retries are the client's: under TanStack Query's own they would multiply. */
export function tanstackOptions(client: Client): TanstackOptions {
  return {
    query: (operation, variables) => ({
      queryKey: [nameOf(operation), variables],
      queryFn: async ({ signal, client: queries }) => {
        return share(queries, await client.request(operation, ...([variables, { signal }] as never)))
      },
      retry: false,
    }),

    live: (operation, variables) => ({
      queryKey: [nameOf(operation), variables],
      queryFn: async ({ signal, client: queries, queryKey }) => {
        for await (const data of client.follow(operation, ...([variables, { signal }] as never))) {
          queries.setQueryData(queryKey, share(queries, data))
        }
        signal.throwIfAborted()
        return queries.getQueryData(queryKey) as never
      },
      retry: false,
      staleTime: Number.POSITIVE_INFINITY,
    }),

    mutation: (operation, queries) => ({
      mutationFn: async (variables) => share(queries, await client.request(operation, ...([variables] as never))),
      retry: false,
    }),
  }
}

type Values = Record<string, unknown>

interface Versioned extends Values {
  readonly id: string
  readonly version: number
}

/** Brings what is newer in an answer to all queries that show the same, and returns it with what they had newer. */
function share<Data>(queries: QueryClient, data: Data): Data {
  const shown = queries.getQueryCache().getAll()
  const newest = newestIn(data)
  for (const { queryKey, state } of shown) {
    const now = updated(state.data, newest)
    if (now !== state.data) queries.setQueryData(queryKey, now, { updatedAt: state.dataUpdatedAt })
  }
  return updated(data, newestIn(shown.map(({ state }) => state.data))) as Data
}

function newestIn(value: unknown, newest = new Map<string, Versioned>()): Map<string, Versioned> {
  if (!isObject(value)) return newest
  if (isVersioned(value)) {
    const other = newest.get(value.id)
    const [older, newer] = other !== undefined && other.version > value.version ? [value, other] : [other, value]
    newest.set(value.id, older?.version === newer.version ? { ...older, ...newer } : newer)
  }
  for (const each of Object.values(value)) newestIn(each, newest)
  return newest
}

/** Copies a value with what is newer; what has nothing newer in it is itself, so that nobody draws it anew. */
function updated(value: unknown, newest: ReadonlyMap<string, Versioned>): unknown {
  if (Array.isArray(value)) {
    const items = value.map((each) => updated(each, newest))
    return items.every((each, index) => each === value[index]) ? value : items
  }
  if (!isObject(value)) return value
  const newer = isVersioned(value) ? newest.get(value.id) : undefined
  const fields: Values = newer !== undefined && newer.version > (value as Versioned).version ? newer : {}
  const copy = Object.fromEntries(
    Object.entries(value).map(([name, old]) => [name, name in fields && isOwn(old) ? fields[name] : updated(old, newest)]),
  )
  // It has that version only if it has nothing older: `updateVideoData` takes the version for what the page has seen.
  if ('version' in value && Object.keys(value).some((name) => isOwn(value[name]) && !(name in fields))) {
    copy['version'] = value['version']
  }
  return Object.keys(value).every((name) => copy[name] === value[name]) ? value : copy
}

/** Whether a field's value is its object's own: lists are known by their pages, and other objects for themselves. */
function isOwn(value: unknown): boolean {
  return !isObject(value) || !(isVersioned(value) || 'pageInfo' in value)
}

function isObject(value: unknown): value is Values {
  return typeof value === 'object' && value !== null
}

function isVersioned(value: Values): value is Versioned {
  return typeof value['id'] === 'string' && typeof value['version'] === 'number'
}
