import { type Exchange, subscriptionExchange } from '@urql/core'

import type { Client } from './client.js'
import { run } from './run.js'

/** The last of urql's exchanges: sends all that is asked for through a client of this package, subscriptions included. */
export function urqlExchange(client: Client): Exchange {
  return subscriptionExchange({
    enableAllOperations: true,
    forwardSubscription: (_, { kind, query, variables }) => ({
      subscribe: (sink) => ({
        unsubscribe: run(client, query, (variables ?? {}) as Record<string, unknown>, {
          isSubscription: kind === 'subscription',
          sink: sink as never,
        }),
      }),
    }),
  })
}
