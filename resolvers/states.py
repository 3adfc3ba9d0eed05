"""Subscriptions to a state: what it is at once, and again whenever it is another."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from db.change_feed import Subject
from db.database import RetryLaterError
from resolvers.context import Context
from resolvers.loaders import Loaders

Found = TypeVar("Found")


class Seen(NamedTuple, Generic[Found]):
    """What was read: the subject with its version, all by which it can differ from what is shown, and what to show."""

    subject: Subject
    state: object
    found: Found
    in_queue: bool = False
    is_last: bool = False  # nothing can follow


async def states(
    context: Context, subject: Subject, read: Callable[[Loaders], Awaitable[Seen[Found]]]
) -> AsyncGenerator[Found, None]:
    """Yield what is read, at once and whenever it is in another state; what it nests is read with the same loaders.

    What could not be read, or not be shown whole, is read again when the change feed finds that it has not been seen.
    """
    with context.live.watch(subject) as watch:
        shown: object = None
        while True:
            watch.rest_seconds = context.rest_seconds
            loaders = await watch.woken()
            try:
                seen = await read(loaders)
            except RetryLaterError:
                watch.subject = subject  # What woke it may have been the queue, which no version tells of again.
                continue
            watch.subject, watch.in_queue = seen.subject, seen.in_queue
            if seen.state == shown:
                continue
            shown = seen.state
            context.new_response(loaders)
            yield seen.found
            if seen.is_last:
                return
            if context.incomplete:
                watch.subject, shown, context.incomplete = subject, None, False
