/** The schema as types: what `initGraphQLTada` of gql.tada takes to type any document that is written against it. */
export type { introspection } from './generated/introspection.js'

/** How the schema's own scalars come over the wire. */
export interface scalars {
  DateTime: string
  JSON: unknown
  URL: string
}
