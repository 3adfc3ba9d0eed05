import type { DocumentNode } from 'graphql'

import { type Answer, ApiError, type Client } from './client.js'

interface Sink {
  next(answer: Answer<unknown>): void
  error(error: unknown): void
  complete(): void
}

/** Runs any operation for a library that wants to be called back, and returns what ends it. */
export function run(
  client: Client,
  query: DocumentNode,
  variables: Record<string, unknown>,
  { isSubscription, sink }: { isSubscription: boolean; sink: Sink },
): () => void {
  const leaving = new AbortController()
  const { signal } = leaving

  const tell = async (): Promise<void> => {
    try {
      if (isSubscription) {
        for await (const data of client.follow(query, variables, { signal })) sink.next({ data })
      } else {
        sink.next(await client.execute(query, variables, { signal }))
      }
      if (!signal.aborted) sink.complete()
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof ApiError)) return sink.error(error)
      sink.next({ data: null, errors: error.errors }) // As each library shows an answer's errors.
      sink.complete()
    }
  }

  void tell()
  return () => leaving.abort()
}
