"""GraphQL operations: the root fields, documents and their limits, execution."""
