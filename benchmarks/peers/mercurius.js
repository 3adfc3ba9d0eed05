// Mercurius on Fastify: operations compiled at their first use (jit), and its own loader for a user's videos.

import { readFileSync } from 'node:fs'
import Fastify from 'fastify'
import mercurius from 'mercurius'
import { identify } from './database.js'
import * as operations from './operations.js'

const app = Fastify()
await app.register(mercurius, {
  schema: readFileSync(new URL('../../schema.graphql', import.meta.url), 'utf8'),
  jit: 1,
  context: (request) => ({ identity: identify(request.headers.authorization) }),
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
  },
  loaders: { User: { videos: (queries) => operations.videosOf(queries.map(({ obj }) => obj.userId)) } },
})
await app.listen({ host: '127.0.0.1', port: 0 })
console.log(`http://127.0.0.1:${app.server.address().port}/graphql`)
