"""GraphQL's verbs: a resolver turns arguments into one statement and its row into objects."""
