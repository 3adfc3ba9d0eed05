import type { QueryClient, QueryFunctionContext } from '@tanstack/query-core'

import { type Client, nameOf, type Operation } from './client.js'
import { newestIn, updated } from './newest.js'

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

/** Brings what is newer in an answer to all queries that show the same, and returns it with what they had newer. */
function share<Data>(queries: QueryClient, data: Data): Data {
  const shown = queries.getQueryCache().getAll()
  const newest = newestIn(data)
  for (const { queryKey, state } of shown) {
    const now = updated(state.data, newest)
    if (now !== state.data) queries.setQueryData(queryKey, now, { updatedAt: state.dataUpdatedAt })
  }
  return updated(data, newestIn(shown.map(({ state }) => state.data)))
}
