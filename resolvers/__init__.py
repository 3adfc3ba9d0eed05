"""GraphQL's verbs: a resolver turns arguments into one query or mutation, and its rows into objects."""
