"""Lists a page at a time: Relay connections with keyset cursors (GraphQL Cursor Connections Specification)."""

from typing import Annotated, Generic, NamedTuple, TypeVar

import strawberry

from schema.limits import PAGE_SIZE, PAGE_SIZE_MAX

Item = TypeVar("Item")

First = Annotated[
    int | None,
    strawberry.argument(
        description=f"How many items at most, from the start or after `after`: up to {PAGE_SIZE_MAX}; "
        f"{PAGE_SIZE} if neither `first` nor `last` is given."
    ),
]
After = Annotated[str | None, strawberry.argument(description="A cursor: only items that come after it.")]
Last = Annotated[
    int | None,
    strawberry.argument(
        description=f"How many items at most, from the end or before `before`: up to {PAGE_SIZE_MAX}. Not with `first`."
    ),
]
Before = Annotated[str | None, strawberry.argument(description="A cursor: only items that come before it.")]


class Page(NamedTuple):
    """Which page of a list is wanted: the four arguments as they came."""

    first: int | None
    after: str | None
    last: int | None
    before: str | None


@strawberry.type(description="Where a page stands in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether items follow this page: ask with `after: endCursor`.")
    has_previous_page: bool = strawberry.field(
        description="Whether items precede this page: ask with `before: startCursor` and `last`."
    )
    start_cursor: str | None = strawberry.field(description="The cursor of the page's first item; null if it is empty.")
    end_cursor: str | None = strawberry.field(description="The cursor of the page's last item; null if it is empty.")


@strawberry.type(description="An item of a list with its cursor.")
class Edge(Generic[Item]):
    cursor: str = strawberry.field(description="The item's position in the list, for `after` and `before`. Opaque.")
    node: Item = strawberry.field(description="The item.")


@strawberry.type(description="A page of a list.")
class Connection(Generic[Item]):
    edges: list[Edge[Item]] = strawberry.field(description="The items, each with its cursor.")
    nodes: list[Item] = strawberry.field(description="The items alone, for when their cursors do not matter.")
    page_info: PageInfo = strawberry.field(description="Where this page stands in the list.")
