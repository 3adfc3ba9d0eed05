"""The order in which a GraphQL request is judged, for every transport.

    1. head          the transport has read it, within its limits
    2. address       rate limit of the address
    3. identity      the bearer token, verified once
    4. user          rate limit of the user
    5. body          received whole, within its limits
    6. admission     a slot, at once or after a wait; excess is rejected
    7. reading       which operation it is, and whether it may come this way; what takes long has to wait for a turn
    8. execution
    9. response      encoded
   10. release       of the slot
   11. send          by the transport, which may have to wait for its client

Each step costs more than those before it, so a request that fails one costs no more than it must. Steps 2 to 9 share
one deadline. A transport adapts to this as a ``Request``; it has no order of its own.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Any, Generic, TypeVar

from graphql import ExecutionResult
from strawberry.types import ExecutionResult as Result
from strawberry.types.graphql import OperationType

from db.database import RetryLaterError
from db.deadline import Deadlines, Section
from resolvers.identity import Identity, Role
from server.auth.tokens import Proof, TokenVerifier
from server.gates.admission import WAITING, Admission, Owner, Slot, overloaded
from server.gates.long_work import LongWork
from server.gates.rate_limit import RateLimits, network
from server.operations.document import Prepared
from server.operations.run import Kinds, NotExecuted, Runner
from server.wire.request import ClientGone, GraphQLRequest, Refused

Response = TypeVar("Response")


class Request(ABC, Generic[Response]):
    """A request as its transport knows it."""

    __slots__ = ("authorization", "client", "deadline", "gone", "kind", "proof", "slot")

    allowed: Kinds  # the operations that may come this way
    streams: bool = False  # whether a subscription may be answered
    has_body: bool = True  # whether all of it has arrived before it is judged
    is_long: bool = False  # whether it takes more than a millisecond to read

    def __init__(self, client: tuple[str, int] | None, authorization: str | None, deadline: float) -> None:
        self.client = client
        self.authorization = authorization
        self.deadline = deadline  # by the event loop's clock
        self.proof: Proof | None = None  # whom the token names, once that is verified
        self.slot: Slot | None = None
        self.gone = False  # whether the client is known to have left
        self.kind: OperationType | None = None  # of the operation, once it is read, where this transport has streams

    async def receive(self) -> None:
        """Receive the body, unless it has arrived; Refused if it cannot be taken, ClientGone if the client leaves."""

    async def wait(self, slot: Slot) -> None:
        """Wait for the slot; ClientGone where the client leaves meanwhile."""
        await slot.wait()

    @abstractmethod
    def read(self) -> GraphQLRequest:
        """Read the body or URL; Refused where it is no GraphQL request."""

    @abstractmethod
    def respond(self, result: ExecutionResult | Result) -> Response:
        """Make the response to a query or mutation."""

    def follow(self, results: AsyncGenerator[str, None]) -> Response:
        """Make the response to a subscription; called only where ``streams`` is true."""
        raise AssertionError(f"{type(self).__name__} cannot stream {results}.")


class Pipeline:
    """Judges requests, executes those that pass, and makes their responses."""

    def __init__(self, verifier: TokenVerifier, rate_limits: RateLimits, admission: Admission, runner: Runner) -> None:
        self._verifier = verifier
        self._rate_limits = rate_limits
        self._admission = admission
        self._runner = runner
        self.long_work = LongWork(admission.free)
        self._preparing: dict[str, asyncio.Event] = {}  # by the document's text
        self._deadlines = Deadlines()

    async def answer(self, request: Request[Response]) -> Response:
        """Return the response to a request.

        Raises what keeps it from one: Refused, InvalidToken, ClientGone, RetryLaterError, or a fault.
        """
        late: Callable[[], Exception] = RetryLaterError  # what it means if the deadline passes now
        try:
            with Section(self._deadlines, request.deadline):
                if self._rate_limits.per_address is not None:
                    await self._rate_limits.spend_of_address(request.client)
                identity = None
                if request.authorization is not None:
                    request.proof = self._verifier.recall(request.authorization) or await self._verifier.prove(
                        request.authorization
                    )
                    identity = request.proof.identity
                    if self._rate_limits.per_user is not None:
                        await self._rate_limits.spend_of_user(identity)
                if not request.has_body:
                    late = _body_late
                    await request.receive()
                if request.gone:
                    raise ClientGone
                owner = _owner(request, identity)
                request.slot = slot = Slot(self._admission, owner)
                try:
                    if slot.state is WAITING:
                        late = overloaded
                        await request.wait(slot)
                    late = RetryLaterError
                    asked = await self.long_work.do(owner, request.read) if request.is_long else request.read()
                    document = self._runner.recall(asked) or await self._prepared(asked, owner)
                    if request.streams and (response := self._follow(request, asked, document, identity)) is not None:
                        return response
                    return request.respond(await self._runner.execute(asked, document, identity, request.allowed))
                finally:
                    slot.release()
        except TimeoutError as error:
            raise late() from error

    async def _prepared(self, asked: GraphQLRequest, owner: Owner) -> Prepared:
        """Prepare a document in a turn of the owner; others who send it meanwhile wait for that."""
        text = self._runner.persisted.text_of(asked)
        while (document := self._runner.recall(asked)) is None:
            if (preparing := self._preparing.get(text)) is not None:
                await preparing.wait()
                continue
            self._preparing[text] = ended = asyncio.Event()
            try:
                return await self.long_work.do(owner, partial(self._runner.prepare, asked))
            finally:
                del self._preparing[text]
                ended.set()
        return document

    def _follow(
        self, request: Request[Response], asked: GraphQLRequest, document: Prepared, identity: Identity | None
    ) -> Response | None:
        """Make the response to a subscription, or to what cannot be executed; None for a query or mutation."""
        try:
            request.kind = self._runner.kind(asked, document)
        except NotExecuted as error:
            return request.respond(ExecutionResult(None, error.errors))
        if request.kind is OperationType.SUBSCRIPTION:
            return request.follow(self._runner.subscribe(asked, document, identity))
        return None

    async def admit_address(self, client: tuple[str, int] | None) -> None:
        """Take the first step alone, for what is no GraphQL request: a handshake, a page."""
        await self._rate_limits.spend_of_address(client)

    def expire(self) -> None:
        """End the deadline of every request now: each is answered RETRY, if it is not answered otherwise."""
        self._deadlines.expire_all()


def _owner(request: Request[Any], identity: Identity | None) -> Owner:
    if identity is None:
        return (network(request.client[0]),) if request.client else None
    return identity.subject if identity.role is Role.USER else None


def _body_late() -> Refused:
    message = "The body did not arrive in time: send the request again."
    return Refused(408, message, code="RETRY", connection="close")
