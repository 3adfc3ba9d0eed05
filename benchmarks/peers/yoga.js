// GraphQL Yoga on Node's own HTTP server: parsed and validated documents are kept, as is its default.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import DataLoader from 'dataloader'
import { createSchema, createYoga } from 'graphql-yoga'
import { identify } from './database.js'
import * as operations from './operations.js'

const yoga = createYoga({
  logging: false,
  graphiql: false,
  context: ({ request }) => ({
    identity: identify(request.headers.get('authorization')),
    videos: new DataLoader(operations.videosOf),
  }),
  schema: createSchema({
    typeDefs: readFileSync(new URL('../../schema.graphql', import.meta.url), 'utf8'),
    resolvers: {
      Query: {
        viewer: (_, __, { identity }) => operations.viewer(identity),
        videoData: (_, { id }, { identity }) => operations.videoData(id, identity),
      },
      Mutation: {
        createVideoData: (_, { input }, { identity }) => operations.createVideoData(input, identity),
        updateVideoRecordStatus: (_, { input }, { identity }) => operations.updateVideoRecordStatus(input, identity),
        adjustUserCredits: (_, { input }, { identity }) => operations.adjustUserCredits(input, identity),
      },
      User: { videos: ({ userId }, _, { videos }) => videos.load(userId) },
    },
  }),
})
const server = createServer(yoga).listen(0, '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}/graphql`)
})
