"""Executes GraphQL operations by functions generated for them; what it does not cover is left to graphql-core."""
