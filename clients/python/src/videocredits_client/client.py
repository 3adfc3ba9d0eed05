"""The client, for callers that block and for those that await; what it sends and when stands in `exchange`."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from importlib.metadata import version
from inspect import isawaitable
from typing import Any, ParamSpec, Self, TypeVar, assert_never

import httpx

from videocredits_client.claim import claim
from videocredits_client.errors import NetworkError, UnexpectedAnswerError, VideocreditsError
from videocredits_client.exchange import (
    Exchange,
    GetToken,
    Patience,
    Response,
    Rest,
    Send,
    Tries,
    as_body,
    data_of,
    exchange,
)
from videocredits_client.operation import Operation
from videocredits_client.operations import (
    _FIRST_CREDIT_ENTRY,
    CREDIT_ENTRY_ADDED,
    AsyncOperations,
    Operations,
)
from videocredits_client.types import CreditEntryEdge, Page, VideoData

P = ParamSpec("P")
T = TypeVar("T")

PAGE_SIZE = 100
SILENCE_SECONDS_MAX = 30  # The server breaks each silence after 12.
DEADLINE_SECONDS = 60
TRIES_MAX = 12
TIMEOUT_SECONDS = 15  # The server gives itself 10.


class Client(Operations):
    """Calls the API, and blocks until it answers; may be shared by threads.

    Refusals are results. Errors are raised: ApiError as the API tells them; NetworkError when no answer has come, in
    which case the mutation may have happened, and is safe to send again with the same key.

    Whatever failed by chance (RETRY, LIMIT_EXCEEDED with a time to wait, a lost connection, a proxy without a server)
    is sent again, the same to the byte, with growing random pauses: at most ``tries_max`` times, and until
    ``deadline_seconds`` have passed since the call.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str],
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        tries_max: int = TRIES_MAX,
        timeout_seconds: float = TIMEOUT_SECONDS,
        http: httpx.Client | None = None,
    ) -> None:
        """Take the address, such as https://api.example.com/graphql, and a bearer token, or what fetches one.

        The latter is called once, and again whenever the token has expired. ``http`` is for proxies, certificates and
        the like; who gives it closes it.
        """
        self._url = url
        self._source = token
        self._token: str | None = None
        self._renewal = threading.Lock()
        self._patience = Patience(deadline_seconds, tries_max, timeout_seconds)
        self._http = http or httpx.Client()
        self._owns_http = http is None

    def run(self, operation: Operation[T], variables: Mapping[str, Any]) -> T:
        """Send an operation, and return what it answers."""
        return self._drive(exchange(operation, variables, self._patience))

    def execute(self, document: str, variables: Mapping[str, Any] | None = None) -> Any:
        """Send a document of your own, and return its data as JSON; a mutation in it must be safe to send twice."""
        return self.run(Operation([document], (), Any), variables or {})

    def claim_render(self) -> VideoData | None:
        """Claim the longest waiting video of the render queue for this worker; None if there is none just now."""
        return self._drive(claim(self._patience))

    def each(self, page: Callable[P, Page[T] | None], *arguments: P.args, **named: P.kwargs) -> Iterator[T]:
        """Yield all items of a list, page by page: ``client.each(client.user_videos, id=user.id)``.

        LookupError when the list's user or video is not there, or not yours.
        """
        named.setdefault("first", PAGE_SIZE)
        while True:
            found = _found(page(*arguments, **named))
            yield from found.nodes
            if not found.page_info.has_next_page:
                return
            named["after"] = found.page_info.end_cursor

    def close(self) -> None:
        """Close all connections."""
        if self._owns_http:
            self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _drive(self, exchange: Exchange[T]) -> T:
        try:
            step = next(exchange)
            while True:
                try:
                    done = self._do(step)
                except NetworkError as lost:
                    step = exchange.throw(lost)
                else:
                    step = exchange.send(done)
        except StopIteration as end:
            result: T = end.value
            return result

    def _do(self, step: GetToken | Send | Rest) -> str | Response | None:
        match step:
            case GetToken(refused):
                with self._renewal:
                    if self._token in (None, refused):
                        self._token = self._source() if callable(self._source) else self._source
                    return self._token
            case Send(body, token, timeout_seconds):
                try:
                    answer = self._http.post(self._url, content=body, headers=_headers(token), timeout=timeout_seconds)
                except _LOST as error:
                    raise _lost(self._url, error) from error
                return _response(answer)
            case Rest(seconds):
                time.sleep(seconds)
                return None
            case _:
                assert_never(step)


class AsyncClient(AsyncOperations):
    """Calls the API without blocking, and follows what changes; see Client for what is raised and sent again.

    What is followed survives lost connections and restarts of the server: it goes on from where it was, and raises
    only when nobody has answered for ``deadline_seconds``.
    """

    def __init__(
        self,
        url: str,
        token: str | Callable[[], str] | Callable[[], Awaitable[str]],
        *,
        deadline_seconds: float = DEADLINE_SECONDS,
        tries_max: int = TRIES_MAX,
        timeout_seconds: float = TIMEOUT_SECONDS,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Take what Client takes; the token may be awaited."""
        self._url = url
        self._source = token
        self._token: str | None = None
        self._renewal = asyncio.Lock()
        self._patience = Patience(deadline_seconds, tries_max, timeout_seconds)
        self._http = http or httpx.AsyncClient()
        self._owns_http = http is None

    async def run(self, operation: Operation[T], variables: Mapping[str, Any]) -> T:
        """Send an operation, and return what it answers."""
        return await self._drive(exchange(operation, variables, self._patience))

    async def execute(self, document: str, variables: Mapping[str, Any] | None = None) -> Any:
        """Send a document of your own, and return its data as JSON; a mutation in it must be safe to send twice."""
        return await self.run(Operation([document], (), Any), variables or {})

    async def claim_render(self) -> VideoData | None:
        """Claim the longest waiting video of the render queue for this worker; None if there is none just now."""
        return await self._drive(claim(self._patience))

    async def each(
        self, page: Callable[P, Awaitable[Page[T] | None]], *arguments: P.args, **named: P.kwargs
    ) -> AsyncGenerator[T, None]:
        """Yield all items of a list, page by page: ``client.each(client.user_videos, id=user.id)``.

        LookupError when the list's user or video is not there, or not yours.
        """
        named.setdefault("first", PAGE_SIZE)
        while True:
            found = _found(await page(*arguments, **named))
            for item in found.nodes:
                yield item
            if not found.page_info.has_next_page:
                return
            named["after"] = found.page_info.end_cursor

    async def follow(self, operation: Operation[T], variables: Mapping[str, Any]) -> AsyncGenerator[T, None]:
        """Yield the present state at once, and again whenever it has changed."""
        last: list[T] = []
        async with aclosing(self._streamed(operation, lambda: variables)) as states:
            async for state in states:
                if [state] != last:  # Whoever comes back is told the present state, changed or not.
                    last = [state]
                    yield state

    async def credit_entry_added(self, *, after: str | None = None) -> AsyncGenerator[CreditEntryEdge, None]:
        """Yield each entry that is added to your ledger, once and in order, and miss none while nobody answers.

        Begins after the entry with this cursor, or with the next one that is added.
        """
        cursor = after
        if cursor is None:
            present = await self.viewer_credit_entries(first=1)
            cursor = None if present is None else present.page_info.start_cursor
        if cursor is None:  # There is nothing yet to come back to: so all there will be are additions.
            async with aclosing(self.viewer_updated()) as updates:
                async for update in updates:
                    if update.entry is not None:
                        break
            for edge in await self.run(_FIRST_CREDIT_ENTRY, {}) or ():
                yield edge
                cursor = edge.cursor
        async with aclosing(self._streamed(CREDIT_ENTRY_ADDED, lambda: {"after": cursor})) as edges:
            async for edge in edges:
                cursor = edge.cursor
                yield edge

    async def aclose(self) -> None:
        """Close all connections."""
        if self._owns_http:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _drive(self, exchange: Exchange[T]) -> T:
        try:
            step = next(exchange)
            while True:
                try:
                    done = await self._do(step)
                except NetworkError as lost:
                    step = exchange.throw(lost)
                else:
                    step = exchange.send(done)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _do(self, step: GetToken | Send | Rest) -> str | Response | None:
        match step:
            case GetToken(refused):
                return await self._get_token(refused)
            case Send(body, token, timeout_seconds):
                try:
                    answer = await self._http.post(
                        self._url, content=body, headers=_headers(token), timeout=timeout_seconds
                    )
                except _LOST as error:
                    raise _lost(self._url, error) from error
                return _response(answer)
            case Rest(seconds):
                await asyncio.sleep(seconds)
                return None
            case _:
                assert_never(step)

    async def _get_token(self, refused: str | None) -> str:
        async with self._renewal:
            if self._token is None or self._token == refused:
                given = self._source() if callable(self._source) else self._source
                self._token = await given if isawaitable(given) else given
            return self._token

    async def _streamed(
        self, operation: Operation[T], variables: Callable[[], Mapping[str, Any]]
    ) -> AsyncGenerator[T, None]:
        """Yield what a subscription tells, and come back when it breaks off, with the variables of then."""
        tries = Tries(replace(self._patience, tries_max=sys.maxsize))
        while True:
            token = await self._get_token(tries.refused_token)
            tries.begin(token)
            body = as_body(operation.document, variables())
            try:
                async with aclosing(self._connected(body, token, tries.timeout_seconds)) as answers:
                    async for answer in answers:
                        told = operation.read(data_of(Response(200, None, answer)))
                        tries.succeed()
                        yield told
            except VideocreditsError as failure:
                await asyncio.sleep(tries.pause_seconds(failure))
            else:
                return

    async def _connected(self, body: bytes, token: str, timeout_seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield what comes over one connection; NetworkError when it breaks off."""
        headers = _headers(token) | {"Accept": f"text/event-stream, {_ACCEPTED}"}
        timeout = httpx.Timeout(timeout_seconds, read=SILENCE_SECONDS_MAX)
        try:
            async with self._http.stream("POST", self._url, content=body, headers=headers, timeout=timeout) as response:
                if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                    refused = Response(
                        response.status_code, response.headers.get("Retry-After"), await response.aread()
                    )
                    data_of(refused)
                    raise UnexpectedAnswerError("This server does not answer subscriptions.")
                async for name, data in _events(response.aiter_bytes()):
                    if name == b"complete":
                        return
                    yield data
        except _LOST as error:
            raise _lost(self._url, error) from error
        raise NetworkError(f"{self._url} broke off what was followed.")


_ACCEPTED = "application/graphql-response+json"
_USER_AGENT = f"videocredits-client/{version('videocredits-client')}"
_LOST = (httpx.NetworkError, httpx.TimeoutException, httpx.RemoteProtocolError, httpx.ProxyError, httpx.DecodingError)


def _headers(token: str) -> dict[str, str]:
    return {
        "Accept": _ACCEPTED,
        "Authorization": f"Bearer {token}",
        "Content-Type": "application/json",
        "User-Agent": _USER_AGENT,
    }


def _lost(url: str, error: Exception) -> NetworkError:
    return NetworkError(
        f"{url} did not answer ({error!r}). What you asked for may or may not have happened: "
        "send it again, with the same idempotency key if it has one."
    )


def _response(answer: httpx.Response) -> Response:
    return Response(answer.status_code, answer.headers.get("Retry-After"), answer.content)


def _found(page: Page[T] | None) -> Page[T]:
    if page is None:
        raise LookupError("Whose list this is, is not there, or not yours to see.")
    return page


async def _events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """Read server-sent events, each with its name and data; only line feeds end a line here, as the server writes."""
    rest = b""
    async for chunk in chunks:
        *events, rest = (rest + chunk).split(b"\n\n")
        for event in events:
            fields = dict(line.partition(b":")[::2] for line in event.split(b"\n"))
            if b"event" in fields:
                yield fields[b"event"].strip(), fields[b"data"].strip()
