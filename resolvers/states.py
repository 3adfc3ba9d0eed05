"""Subscriptions to a state: the present one at once, then each different one."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

from db.change_feed import Subject
from db.database import RetryLaterError
from resolvers.context import Context
from resolvers.loaders import Loaders

Found = TypeVar("Found")


class Seen(NamedTuple, Generic[Found]):
    """One reading: the subject with its version, everything by which the state can differ, and the object to show."""

    subject: Subject
    state: object
    found: Found
    in_queue: bool = False
    is_last: bool = False  # No other state can follow.


async def states(
    context: Context, subject: Subject, read: Callable[[Loaders], Awaitable[Seen[Found]]]
) -> AsyncGenerator[Found, None]:
    """Yield the present state, then each different one. Nested fields read with the same loaders.

    After a reading that failed, or that could not be shown in full, the subject counts as unseen: the change feed's
    next poll wakes the watch again.
    """
    with context.live.watch(subject) as watch:
        context.watch = watch
        shown: object = None
        while True:
            watch.rest_seconds = context.rest_seconds
            loaders = await watch.woken()
            try:
                seen = await read(loaders)
            except RetryLaterError:
                watch.subject = subject  # The queue may have woken it, and no version shows that again.
                continue
            watch.subject, watch.in_queue = seen.subject, seen.in_queue
            if seen.state != shown:
                shown = seen.state
                context.new_response(loaders)
                yield seen.found
                if seen.is_last:
                    return
                if context.incomplete:
                    watch.subject, shown, context.incomplete = subject, None, False
            watch.confirm()
