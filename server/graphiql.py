"""The page at /graphql for browsers: GraphiQL with a working example of each operation in its tabs."""

from server.settings import Settings


def page(settings: Settings, host: str | None) -> str:
    return ""
