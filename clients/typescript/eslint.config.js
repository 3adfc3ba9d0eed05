// What graphql-eslint holds the schema and the operations to. Each exception says why.

import graphql from '@graphql-eslint/eslint-plugin'

/** A rule as it is, but for the fields of these names. */
function except(name, ...fields) {
  const rule = graphql.rules[name]
  const create = (context) => {
    const report = (found) => fields.includes(found.node.value) || context.report(found)
    return rule.create(Object.create(context, { report: { value: report } }))
  }
  return { [name]: { ...rule, create } }
}

const rules = {
  ...graphql.rules,
  ...except('no-typename-prefix', 'voiceId'), // The voice provider's id, as the app has always called it; none of ours.
  ...except('relay-arguments', 'videosUpdated'), // The first page alone is followed; later ones are asked for.
}

export default [
  {
    files: ['**/*.graphql'],
    languageOptions: {
      parser: graphql.parser,
      parserOptions: {
        graphQLConfig: { schema: 'schema.graphql', documents: 'clients/typescript/operations/*.graphql' },
      },
    },
    plugins: { '@graphql-eslint': { ...graphql, rules } },
  },
  {
    files: ['schema.graphql'],
    rules: {
      ...graphql.configs['flat/schema-recommended'].rules,
      ...graphql.configs['flat/schema-relay'].rules,
      '@graphql-eslint/strict-id-in-types': [
        'error',
        {
          exceptions: {
            // Parts of lists, and results of mutations, are known by the objects in them.
            suffixes: ['Connection', 'Edge', 'Success'],
            types: [
              'PageInfo',
              // Refusals are answers, not objects.
              ...['ContradictoryReport', 'CreditsOutOfRange', 'IdempotencyKeyReused', 'IllegalTransition', 'InsufficientCredits'],
              ...['OperationRefused', 'QuotaExceeded', 'StaleAttempt', 'UserNotFound', 'VersionConflict', 'VideoDataNotFound'],
              // Values of a video, which come and go with it.
              ...['MusicTrack', 'VideoImage', 'Voice', 'Volume'],
              // What is counted or told as of one moment.
              ...['VideoDataStats', 'ViewerUpdate'],
            ],
          },
        },
      ],
      // Lists are connections, or short: `nodes` beside `edges`, as GitHub's have it, `nodes(ids:)`, a video's images.
      // tests/schema/test_contract.py holds the others to it.
      '@graphql-eslint/relay-edge-types': ['error', { listTypeCanWrapOnlyEdgeType: false }],
    },
  },
  {
    files: ['clients/**/*.graphql'],
    rules: graphql.configs['flat/operations-recommended'].rules,
  },
]
