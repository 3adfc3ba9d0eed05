// What graphql-codegen makes of schema.graphql and operations/: src/generated/.

import { readFileSync } from 'node:fs'

import { minifyIntrospection, outputIntrospectionFile } from '@gql.tada/internal'
import { addTypenameSelectionDocumentTransform } from '@graphql-codegen/client-preset'
import { buildSchema, introspectionFromSchema, isAbstractType } from 'graphql'

const schema = buildSchema(readFileSync('../../schema.graphql', 'utf8'))

const possibleTypes = Object.fromEntries(
  Object.values(schema.getTypeMap())
    .filter((type) => isAbstractType(type))
    .map((type) => [type.name, schema.getPossibleTypes(type).map(({ name }) => name)]),
)
// The types that gql.tada infers from, without its declaration that this is the only schema that a page speaks to.
const [introspection] = outputIntrospectionFile(minifyIntrospection(introspectionFromSchema(schema)), {
  fileType: '.d.ts',
  shouldPreprocess: true,
}).split('import * as gqlTada')

export default {
  schema: '../../schema.graphql',
  documents: 'operations/*.graphql',
  generates: {
    'src/generated/': {
      preset: 'client',
      // Normalising caches need `__typename` everywhere; a trusted document must have it before it is hashed.
      documentTransforms: [addTypenameSelectionDocumentTransform],
      presetConfig: {
        // These documents are for other people's pages, which read results as they are.
        fragmentMasking: false,
        persistedDocuments: { hashAlgorithm: 'sha256', mode: 'embedHashInDocument' },
      },
      config: {
        strictScalars: true,
        scalars: { ID: 'string', DateTime: 'string', URL: 'string', JSON: 'unknown' },
        enumsAsTypes: true,
        useTypeImports: true,
        inputMaybeValue: 'T | null | undefined',
      },
    },
    'src/generated/possible-types.ts': {
      plugins: [{ add: { content: `export const possibleTypes = ${JSON.stringify(possibleTypes, null, 2)}` } }],
    },
    'src/generated/introspection.ts': {
      plugins: [{ add: { content: introspection } }],
    },
  },
}
