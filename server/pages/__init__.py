"""The pages for browsers: GraphiQL and the quickstart, and the data that they show."""
