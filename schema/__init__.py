"""GraphQL's nouns: types, inputs and results, with the words that users read in GraphiQL."""
