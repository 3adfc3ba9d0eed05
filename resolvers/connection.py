"""Pagination: turns a page's arguments into its statement's bounds, and the statement's rows into a connection."""

import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from resolvers.row_object import object_from_row
from schema.connection import Connection, Edge, Page, PageInfo
from schema.error import RequestError
from schema.limits import PAGE_SIZE, PAGE_SIZE_MAX
from schema.node import base64url, from_base64url, uuid

Bound = TypeVar("Bound", int, UUID)
Row = TypeVar("Row")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Order(Generic[Bound]):
    """How a list is ordered: the tag and layout of its cursors, and the exclusive bounds that stand for no cursor.

    Cursors begin with the ``tag``, so that a cursor of another list is refused.
    """

    tag: bytes
    layout: struct.Struct
    start: Bound
    end: Bound


_NUMBER, _ID = struct.Struct(">1sq"), struct.Struct(">1s16s")

NEWEST_USER_FIRST = Order(b"u", _ID, start=uuid(b"\xff" * 16), end=uuid(bytes(16)))
NEWEST_ENTRY_FIRST = Order(b"c", _NUMBER, start=2**63 - 1, end=0)
NEWEST_VIDEO_FIRST = Order(b"v", _ID, start=uuid(b"\xff" * 16), end=uuid(bytes(16)))
NEWEST_EVENT_FIRST = Order(b"e", _NUMBER, start=2**31 - 1, end=0)
LONGEST_WAITING_FIRST = Order(b"q", _ID, start=uuid(bytes(16)), end=uuid(b"\xff" * 16))


@dataclass(frozen=True, slots=True)
class Window(Generic[Bound]):
    """The part of a list that a page shows. Its statement reads one extra row, to find out whether more follow."""

    order: Order[Bound]
    after: Bound
    before: Bound
    size: int
    backward: bool
    bounded: bool  # whether a cursor limits the side from which the page starts

    @property
    def bounds(self) -> tuple[Bound, Bound, int, bool]:
        """What the statement takes: after, before, limit, backward."""
        return self.after, self.before, self.size + 1, self.backward


def window(page: Page, order: Order[Bound]) -> Window[Bound]:
    """Read a page's arguments; invalid ones are BAD_USER_INPUT."""
    if page.first is not None and page.last is not None:
        raise RequestError("BAD_USER_INPUT", "Give `first` or `last`, not both.")
    backward = page.last is not None
    size = page.first if page.first is not None else page.last if page.last is not None else PAGE_SIZE
    if not 0 <= size <= PAGE_SIZE_MAX:
        name = "last" if backward else "first"
        raise RequestError("BAD_USER_INPUT", f"`{name}` must be 0 to {PAGE_SIZE_MAX}, and is {size}.")
    return Window(
        order=order,
        after=order.start if page.after is None else _bound("after", page.after, order),
        before=order.end if page.before is None else _bound("before", page.before, order),
        size=size,
        backward=backward,
        bounded=(page.before if backward else page.after) is not None,
    )


class _PageRows(NamedTuple):
    """The rows of a page, and how to convert them."""

    rows: Sequence[Any]
    more: bool
    window: Window[Any]
    bound: Callable[[Any], int | UUID]
    item: Callable[[Any], Any]


def _cursor_at(index: int, rows: Sequence[Any], window: Window[Any], bound: Callable[[Any], int | UUID]) -> str | None:
    return cursor(window.order, bound(rows[index])) if rows else None


_page_info = object_from_row(
    PageInfo,
    _PageRows,
    has_next_page=(lambda more, window: window.bounded if window.backward else more, "more", "window"),
    has_previous_page=(lambda more, window: more if window.backward else window.bounded, "more", "window"),
    start_cursor=(partial(_cursor_at, 0), "rows", "window", "bound"),
    end_cursor=(partial(_cursor_at, -1), "rows", "window", "bound"),
)


def _edges(
    rows: Sequence[Any], window: Window[Any], bound: Callable[[Any], int | UUID], item: Callable[[Any], Any]
) -> list[Edge[Any]]:
    return [Edge(cursor=cursor(window.order, bound(row)), node=item(row)) for row in rows]


_connection = object_from_row(
    Connection,
    _PageRows,
    edges=(_edges, "rows", "window", "bound", "item"),
    nodes=(lambda rows, item: [item(row) for row in rows], "rows", "item"),
    page_info=(lambda *columns: _page_info(_PageRows(*columns)), *_PageRows._fields),
)


def connection(
    rows: Sequence[Row], window: Window[Bound], bound: Callable[[Row], Bound], item: Callable[[Row], Item]
) -> Connection[Item]:
    """Build a page from the rows that its window's statement returned."""
    more = len(rows) > window.size
    shown = rows[: window.size]
    return _connection(_PageRows(shown[::-1] if window.backward else shown, more, window, bound, item))


def cursor(order: Order[Bound], bound: int | UUID) -> str:
    """Return the cursor of an item in a list."""
    return base64url(order.layout.pack(order.tag, bound.bytes if isinstance(bound, UUID) else bound))


def _bound(name: str, given: str, order: Order[Bound]) -> Bound:
    read: Any = order.start
    with suppress(ValueError, struct.error):
        _, read = order.layout.unpack(from_base64url(given[:32]))
    if isinstance(read, bytes):
        read = uuid(read)
    bound: Bound = read
    if cursor(order, bound) != given or not min(order.start, order.end) <= bound <= max(order.start, order.end):
        raise RequestError("BAD_USER_INPUT", f"`{name}` is not a cursor of this list.")
    return bound
