import { ApolloLink, type InMemoryCacheConfig, Observable } from '@apollo/client'
import { relayStylePagination } from '@apollo/client/utilities'

import type { Client } from './client.js'
import { possibleTypes } from './generated/possible-types.js'
import { run } from './run.js'

/** Sends all that Apollo Client asks for through a client of this package, subscriptions included. */
export function apolloLink(client: Client): ApolloLink {
  return new ApolloLink(
    ({ query, variables, operationType }) =>
      new Observable((observer) =>
        run(client, query, variables, {
          isSubscription: operationType === 'subscription',
          sink: {
            next: (answer) => observer.next(answer as ApolloLink.Result),
            error: (error) => observer.error(error),
            complete: () => observer.complete(),
          },
        }),
      ),
  )
}

/** For `new InMemoryCache`: which types refusals and nodes are, and lists that grow as pages are fetched. */
export const cacheConfig: InMemoryCacheConfig = {
  possibleTypes,
  typePolicies: {
    Query: { fields: { users: relayStylePagination(), videos: relayStylePagination(['filter']) } },
    User: { fields: { videos: relayStylePagination(['filter']), creditEntries: relayStylePagination() } },
    VideoData: { fields: { entries: relayStylePagination(), events: relayStylePagination() } },
  },
}
