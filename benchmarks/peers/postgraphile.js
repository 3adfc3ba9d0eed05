// PostGraphile on Node's own HTTP server: reads are its own, made of the tables; mutations are extensions of its schema.

import { createServer } from 'node:http'
import { postgraphile } from 'postgraphile'
import { makePgService } from 'postgraphile/adaptors/pg'
import { context, get, lambda, sideEffect } from 'postgraphile/grafast'
import { grafserv } from 'postgraphile/grafserv/node'
import { PostGraphileAmberPreset } from 'postgraphile/presets/amber'
import { extendSchema } from 'postgraphile/utils'
import { decodeId, identify, pool } from './database.js'
import * as operations from './operations.js'

const typeDefs = /* GraphQL */ `
  interface Error {
    code: String!
    message: String!
  }
  type Refused implements Error {
    code: String!
    message: String!
  }
  type CreateVideoDataSuccess {
    videoData: VideoDatum!
    user: Wallet!
    entry: CreditEntry!
    replayed: Boolean!
  }
  type UpdateVideoRecordStatusSuccess {
    videoData: VideoDatum!
    user: Wallet!
    entry: CreditEntry
    replayed: Boolean!
  }
  type AdjustUserCreditsSuccess {
    user: Wallet!
    entry: CreditEntry!
    replayed: Boolean!
  }
  union CreateVideoDataResult = CreateVideoDataSuccess | Refused
  union UpdateVideoRecordStatusResult = UpdateVideoRecordStatusSuccess | Refused
  union AdjustUserCreditsResult = AdjustUserCreditsSuccess | Refused
  input VoiceInput {
    voiceId: String!
    name: String!
  }
  input CreateVideoDataInput {
    title: String!
    videoStyle: String!
    topic: String
    script: String
    caption: JSON
    voice: VoiceInput
    createdBy: String
    idempotencyKey: String!
  }
  input UpdateVideoRecordStatusInput {
    recordId: ID!
    status: String
    comments: JSON
    renderProgress: Int
    downloadUrl: String
    attempt: Int
  }
  input AdjustUserCreditsInput {
    userId: ID!
    amount: Int!
    takeAvailable: Boolean!
    kind: String!
    memo: String
    idempotencyKey: String!
  }
  extend type Query {
    viewer: User
    videoData(id: ID!): VideoDatum
  }
  extend type Mutation {
    createVideoData(input: CreateVideoDataInput!): CreateVideoDataResult!
    updateVideoRecordStatus(input: UpdateVideoRecordStatusInput!): UpdateVideoRecordStatusResult!
    adjustUserCredits(input: AdjustUserCreditsInput!): AdjustUserCreditsResult!
  }
`

// As its documentation shows a mutation of one's own: the statement is a side effect, whose answer holds the keys by which
// the fields of the answer are selected, with all that the tables' own types offer.
const mutation =
  (run) =>
  (_, { $input }) =>
    sideEffect([$input, context().get('identity')], ([input, identity]) => run(input, identity))

const selected = (wallets, videos, entries) => ({
  user: ($answer) => wallets.get({ wallet_id: get(get($answer, 'user'), 'walletId') }),
  entry: ($answer) => {
    const $entry = get($answer, 'entry')
    return entries.get({ wallet_id: get($entry, 'walletId'), number: get($entry, 'number') })
  },
  ...(videos && {
    videoData: ($answer) => {
      const $video = get($answer, 'videoData')
      return videos.get({ wallet_id: get($video, 'walletId'), id: get($video, 'videoId') })
    },
  }),
})

const refused = { planType: ($answer) => ({ $__typename: lambda($answer, known, true) }) }
const known = ({ __typename, code }) => (code ? 'Refused' : __typename)

const ownerOf = ([id, { role, userId }]) => {
  const [owner, video] = decodeId(id)
  return role === 'USER' && owner !== userId ? [null, null] : [owner, video]
}

const instance = postgraphile({
  extends: [PostGraphileAmberPreset],
  plugins: [
    extendSchema(({ pgResources: { users, wallets, video_data: videos, credit_entries: entries } }) => ({
      typeDefs,
      objects: {
        CreateVideoDataSuccess: { plans: selected(wallets, videos, entries) },
        UpdateVideoRecordStatusSuccess: { plans: selected(wallets, videos, entries) },
        AdjustUserCreditsSuccess: { plans: selected(wallets, null, entries) },
        Query: {
          plans: {
            viewer: () => users.get({ user_id: context().get('identity').get('userId') }),
            videoData: (_, { $id }) => {
              const $owner = lambda([$id, context().get('identity')], ownerOf, true)
              return videos.get({ wallet_id: get($owner, 0), id: get($owner, 1) })
            },
          },
        },
        Mutation: {
          plans: {
            createVideoData: mutation(operations.createVideoData),
            updateVideoRecordStatus: mutation(operations.updateVideoRecordStatus),
            adjustUserCredits: mutation(operations.adjustUserCredits),
          },
        },
      },
      unions: {
        CreateVideoDataResult: refused,
        UpdateVideoRecordStatusResult: refused,
        AdjustUserCreditsResult: refused,
      },
    })),
  ],
  pgServices: [makePgService({ pool, schemas: ['public'] })],
  schema: { defaultBehavior: '-insert -update -delete' },
  grafserv: { graphqlPath: '/graphql', graphiql: false, websockets: false },
  grafast: { context: ({ node }) => ({ identity: identify(node.req.headers.authorization) }), explain: false },
})
const server = createServer()
await instance.createServ(grafserv).addTo(server)
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/graphql`))
