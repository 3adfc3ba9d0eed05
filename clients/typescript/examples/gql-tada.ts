import { createClient } from '@videocredits/client'
import type { introspection, scalars } from '@videocredits/client/gql-tada'
import { initGraphQLTada } from 'gql.tada'

import { end, show, token, url } from './page.js'

const graphql = initGraphQLTada<{ introspection: introspection; scalars: scalars }>()
const TITLES = graphql(`
  query Titles($filter: VideoFilter) {
    viewer {
      credits
      videos(first: 5, filter: $filter) {
        nodes {
          title
          status
        }
      }
    }
  }
`)

const { viewer } = await createClient({ url, token }).request(TITLES, { filter: { status: ['QUEUED'] } })
const credits: number | undefined = viewer?.credits
show(credits)
show(viewer?.videos.nodes.length)
end()
