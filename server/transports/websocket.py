"""`/graphql` over WebSocket, by the protocol `graphql-transport-ws`."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial
from uuid import uuid4

import structlog
from graphql import ExecutionResult, GraphQLError
from starlette.types import Receive, Scope, Send
from strawberry.types import ExecutionResult as Result

import server.process.logging
from resolvers.identity import Identity
from schema.error import RequestError
from server.auth.tokens import TOKEN_SECONDS_MAX, InvalidToken, TokenVerifier
from server.gates.rate_limit import network
from server.gates.streams import Streams
from server.operations.run import QUERIES_AND_MUTATIONS, NotExecuted
from server.pipeline import Pipeline, Request
from server.process.settings import Settings
from server.transports.socket_message import SocketMessage, read_message
from server.transports.websocket_protocol import MESSAGE_BYTES_MORE
from server.wire.answer import encode, encode_result, refusal, was_executed
from server.wire.errors import present
from server.wire.request import SHORT_BODY_BYTES, GraphQLRequest, Refused, read_headers, read_operation

PROTOCOL = "graphql-transport-ws"
INIT_SECONDS_MAX = 5
# Over 5 seconds. One user may have 50 sockets, and each message costs as much as half of a small query.
MESSAGES_PER_SECOND_MAX = 20
_PACE_SECONDS = 5
MESSAGES_BEFORE_INIT_MAX = 10
REASON_BYTES_MAX = 123  # A frame that closes has no room for more.

log = structlog.get_logger()


class Sockets:
    """Accepts handshakes, or refuses them in JSON with the reason."""

    def __init__(self, settings: Settings, verifier: TokenVerifier, pipeline: Pipeline, streams: Streams) -> None:
        self.settings = settings
        self.verifier = verifier
        self.pipeline = pipeline
        self.streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        socket_id = uuid4().hex
        server.process.logging.request_id.set(socket_id)
        await receive()  # It wants to connect.
        try:
            await self.pipeline.admit_address(scope.get("client"))
            headers = read_headers(scope)
            self._check_origin(headers.get(b"origin"), headers.get(b"host"))
            socket = _Socket(self, scope, receive, send, headers.get(b"authorization"))
            with self.streams.place(socket.stop):
                await socket.run()
        except Refused as error:
            log.info("socket_refused", status=error.status)
            error.headers["X-Request-Id"] = socket_id
            await refusal(error, socket_id)(scope, receive, send)

    def _check_origin(self, origin: bytes | None, host: bytes | None) -> None:
        """Refuse pages of other sites, unless they may call the API: browsers themselves let them open any socket."""
        if origin is None or (host and origin.partition(b"://")[2].lower() == host.lower()):
            return
        if origin.decode("latin-1") not in (self.settings.cors_origins or ()):
            message = "Pages of this site may not open sockets here: its origin must be in VIDEOCREDITS_CORS_ORIGINS."
            raise Refused(403, message, code="FORBIDDEN")


class _SocketRequest(Request["list[str] | AsyncGenerator[str, None]"]):
    """One operation over a socket; the response is its messages, or the results of a subscription."""

    __slots__ = ("_asked", "_error_id", "_name", "_response_bytes_max")

    allowed = QUERIES_AND_MUTATIONS
    streams = True

    def __init__(
        self,
        client: tuple[str, int] | None,
        authorization: str | None,
        deadline: float,
        name: str,
        asked: GraphQLRequest,
        error_id: str,
        response_bytes_max: int,
    ) -> None:
        super().__init__(client, authorization, deadline)
        self._response_bytes_max = response_bytes_max
        self._name = name
        self._asked: GraphQLRequest | None = asked
        self._error_id = error_id

    def read(self) -> GraphQLRequest:
        asked, self._asked = self._asked, None  # A subscription's may be large, and lasts.
        assert asked is not None  # noqa: S101 - it is read once
        return asked

    def respond(self, result: ExecutionResult | Result) -> list[str]:
        if not was_executed(result):
            return [_error(self._name, result.errors or [], self._error_id)]
        text = encode_result(result, self._error_id, self._response_bytes_max)
        return [_next(self._name, text), _complete(self._name)]

    def follow(self, results: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        return results


def _next(name: str, result: str) -> str:
    return f'{{"id":{encode(name)},"type":"next","payload":{result}}}'


def _complete(name: str) -> str:
    return f'{{"id":{encode(name)},"type":"complete"}}'


def _error(name: str, errors: list[GraphQLError], error_id: str) -> str:
    return encode({"id": name, "type": "error", "payload": [present(error, error_id) for error in errors]})


class _Close(Exception):  # noqa: N818 - It is what is done, and reads so where it is raised.
    """What ends a socket: a code of the protocol, and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class _Socket:
    """One socket: reads its messages one by one, and runs its operations concurrently."""

    __slots__ = (
        *("_active", "_authorization", "_closed", "_count", "_due", "_ended", "_paced", "_receive", "_scope", "_send"),
        *("_sockets", "_stopping", "_subscriptions"),
    )

    def __init__(
        self, sockets: Sockets, scope: Scope, receive: Receive, send: Send, authorization: bytes | None
    ) -> None:
        self._sockets = sockets
        self._scope = scope
        self._receive = receive
        self._send = send
        self._authorization = None if authorization is None else authorization.decode("latin-1")
        self._active: dict[str, asyncio.Task[None]] = {}
        self._subscriptions: set[asyncio.Task[None]] = set()
        self._ended: set[asyncio.Task[None]] = set()  # by their client, and not yet gone
        self._stopping: asyncio.Task[None] | None = None
        self._due: float | None = None  # when the token is to be proven again
        self._paced = 0.0  # when the next message would be read if all came at the same pace
        self._count = 0
        self._closed: int | None = None

    async def run(self) -> None:
        """Serve the connection until it ends; nothing of it is left then."""
        started = time.perf_counter()
        self._limit_messages(None)
        offered = PROTOCOL in self._scope["subprotocols"]
        await self._send({"type": "websocket.accept", "subprotocol": PROTOCOL if offered else None})
        try:
            if offered:
                await self._serve()
            else:
                await self._close(4406, f"Subprotocol not acceptable: offer {PROTOCOL}.")
        except _Close as close:
            await self._close(close.code, close.reason)
        except InvalidToken as error:
            await self._reject(error)
        except Refused as error:
            # After 1013, clients reconnect with growing pauses, a few times.
            await self._close(1013 if error.status in {429, 503} else 4400, error.message)
        except ConnectionError:
            pass  # The client has left.
        except Exception:
            log.exception("socket_fault")
            await self._close(4500, "The server made a mistake.")
        finally:
            tasks = {*self._active.values(), *self._ended}
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            seconds = round(time.perf_counter() - started, 1)
            log.info("socket", code=self._closed, seconds=seconds, operations=self._count)

    async def _serve(self) -> None:
        try:
            async with asyncio.timeout(INIT_SECONDS_MAX):
                await self._initialise()
        except TimeoutError:
            raise _Close(4408, "Connection initialisation timeout") from None
        client = self._scope["client"]
        with self._sockets.streams.place_of(await self._identify(), network(client[0]) if client else None):
            self._limit_messages(self._authorization)
            await self._say('{"type":"connection_ack"}')
            while True:
                await self._take(await self._message())

    async def _initialise(self) -> None:
        """Wait until the client has said who it is."""
        count = 0
        while (message := await self._message()).type != "connection_init":
            count += 1
            if message.type not in {"ping", "pong"} or count >= MESSAGES_BEFORE_INIT_MAX:
                raise _Close(
                    4401 if message.type == "subscribe" else 4400, "Unauthorized: send `connection_init` first."
                )
            await self._take(message)
        for name, value in (message.payload or {}).items():
            if name.lower() == "authorization" and value is not None:
                if not isinstance(value, str):
                    raise _Close(4400, "`Authorization` must be text: `Bearer` and the token.")
                self._authorization = value

    def _limit_messages(self, authorization: str | None) -> None:
        """Have the server, if it is uvicorn, read no message that is far longer than this client may send."""
        if "connection" in self._scope["state"]:
            bytes_max = self._sockets.settings.request_bytes_max(authorization)
            self._scope["state"]["connection"].max_message_size = bytes_max + MESSAGE_BYTES_MORE

    async def _identify(self) -> Identity | None:
        """Verify the token, again; InvalidToken where it is no longer valid."""
        seconds: float = TOKEN_SECONDS_MAX
        identity = None
        if self._authorization is not None:
            identity, good_until = await self._sockets.verifier.prove(self._authorization)
            seconds = min(seconds, good_until - time.time())
        self._due = asyncio.get_running_loop().time() + seconds
        return identity

    async def _message(self) -> SocketMessage:
        """Return the next message; identify the client again whenever that is due meanwhile."""
        now = asyncio.get_running_loop().time
        self._paced = max(self._paced, now() - _PACE_SECONDS) + 1 / MESSAGES_PER_SECOND_MAX
        while True:
            try:
                async with asyncio.timeout_at(self._due):
                    if self._paced > now():
                        await asyncio.sleep(self._paced - now())
                    received = await self._receive()
                    break
            except TimeoutError:
                await self._identify()
        if received["type"] == "websocket.disconnect":
            self._closed = self._closed or received.get("code")
            raise ConnectionError
        verified = None if self._due is None else self._authorization
        read = partial(read_message, received, self._sockets.settings.request_bytes_max(verified))
        if len(received.get("text") or "") <= SHORT_BODY_BYTES:
            return read()
        client = self._scope["client"]
        return await self._sockets.pipeline.long_work.do(client and (network(client[0]),), read)

    async def _take(self, message: SocketMessage) -> None:
        match message.type:
            case "ping":
                payload = {} if message.payload is None else {"payload": message.payload}
                await self._say(encode({"type": "pong", **payload}))
            case "subscribe":
                await self._subscribe(message.id, read_operation(message.payload))
            case "complete" if message.id in self._active:
                task = self._active.pop(message.id)
                self._ended.add(task)
                task.add_done_callback(self._ended.discard)
                task.cancel()
            case "connection_init":
                raise _Close(4429, "Too many initialisation requests")

    async def _subscribe(self, name: str, asked: GraphQLRequest) -> None:
        if name in self._active:
            raise _Close(4409, f"Subscriber for {name} already exists")
        at_once_max = self._sockets.settings.operations_per_socket_max
        if len(self._active) >= at_once_max:
            advice = f"{at_once_max} operations run on this socket already: complete one first."
            await self._say(_error(name, [RequestError("LIMIT_EXCEEDED", advice)], uuid4().hex))
        elif self._stopping is None:
            self._count += 1
            self._active[name] = asyncio.create_task(self._operate(name, asked))

    async def _operate(self, name: str, asked: GraphQLRequest) -> None:
        """Run an operation and send its results, under an id of its own for errors and log."""
        error_id = uuid4().hex
        server.process.logging.request_id.set(error_id)
        started = time.perf_counter()
        settings = self._sockets.settings
        deadline = asyncio.get_running_loop().time() + settings.request_timeout_seconds
        client, authorization, bytes_max = self._scope["client"], self._authorization, settings.response_bytes_max
        request = _SocketRequest(client, authorization, deadline, name, asked, error_id, bytes_max)
        del asked
        try:
            response = await self._sockets.pipeline.answer(request)
            if isinstance(response, list):
                for message in response:
                    await self._say(message)
            elif self._stopping is None:
                self._subscriptions.add(self._active[name])
                await self._follow(name, response)
        except InvalidToken as error:
            await self._reject(error)
        except NotExecuted as error:
            await self._say(_error(name, error.errors, error_id))
        except Exception as error:  # noqa: BLE001 - it is logged, and the client learns nothing of it
            await self._say(_error(name, [GraphQLError("", original_error=error)], error_id))
        finally:
            task = asyncio.current_task()
            self._subscriptions.discard(task)
            if self._active.get(name) is task:
                del self._active[name]
            milliseconds = round(1000 * (time.perf_counter() - started), 1)
            log.info(
                "operation", request_id=error_id, kind=request.kind and request.kind.value, milliseconds=milliseconds
            )

    async def _follow(self, name: str, results: AsyncGenerator[str, None]) -> None:
        async with aclosing(results):
            async for result in results:
                await self._say(_next(name, result))
        await self._say(_complete(name))

    async def _reject(self, error: InvalidToken) -> None:
        # Not 4401: after 4403 clients renew their token and reconnect.
        await self._close(4403, f"{error.reason}: {error.message}")

    def stop(self) -> None:
        """Take no more operations, finish queries and mutations, and close."""
        self._stopping = asyncio.create_task(self._stop())

    async def _stop(self) -> None:
        # A subscription ends without `complete`, which would say that there is no more to come: the client follows it
        # again, where it connects then.
        for task in self._subscriptions:
            task.cancel()
        if self._active:
            await asyncio.wait(self._active.values())
        await self._close(1012, "The server is being stopped: connect again.")

    async def _say(self, text: str) -> None:
        """Send a message, unless the socket is closed; wait while the client has more unread than fits on the way."""
        if self._closed is None:
            if not text.isascii():  # Half a character, which an error may quote, has no UTF-8.
                text = text.encode(errors="replace").decode()
            with suppress(OSError):  # The client has left, as the next message to be read will tell.
                await self._send({"type": "websocket.send", "text": text})

    async def _close(self, code: int, reason: str) -> None:
        if self._closed is None:
            self._closed = code
            with suppress(OSError):
                cut = reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")
                await self._send({"type": "websocket.close", "code": code, "reason": cut})
