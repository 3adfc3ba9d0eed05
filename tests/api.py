"""The API for tests: documents that select everything a test may check, and a client that signs in."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx2
from graphql import GraphQLObjectType, build_schema, get_named_type, is_leaf_type
from starlette.applications import Starlette

from resolvers.identity import Identity, Role
from server.app import create_app
from server.auth.tokens import mint_token
from server.operations.run import NotExecuted
from server.process.settings import Settings
from server.wire.errors import present
from server.wire.request import GraphQLRequest

SECRET = "a secret for tests, of more than 32 bytes"

SCHEMA = build_schema((Path(__file__).parents[1] / "schema.graphql").read_text(encoding="utf-8"))
LARGE = {"script", "caption", "captionJson", "config", "images"}  # what the tests of content select


def named(name: str) -> Any:
    """Return a type that has fields."""
    return SCHEMA.type_map[name]


def fields(name: str, *, but: Collection[str] = ()) -> str:
    """Select all of a type but what is large, has arguments, or is another object with an id."""
    selected = []
    for key, field in named(name).fields.items():
        if key in but:
            continue
        type_ = get_named_type(field.type)
        if is_leaf_type(type_) and not field.args and key not in LARGE:
            selected.append(key)
        elif isinstance(type_, GraphQLObjectType) and not field.args and "id" not in type_.fields and key not in LARGE:
            selected.append(f"{key} {{ {fields(type_.name)} }}")
    return " ".join(selected)


def refusals() -> str:
    """Select all of every refusal, and what all have in common once."""
    parts = [common := fields("Error")]
    for type_ in SCHEMA.get_possible_types(named("Error")):
        video = " videoData { ...video }" if "videoData" in type_.fields else ""
        if own := fields(type_.name, but=common.split()) + video:
            parts.append(f"... on {type_.name} {{ {own} }}")
    return " ".join(parts)


USER, VIDEO, ENTRY = (
    f"fragment {name} on {kind} {{ {fields(kind)} }}"
    for name, kind in (("user", "User"), ("video", "VideoData"), ("entry", "CreditEntry"))
)
REFUSAL = f"fragment refusal on Error {{ {refusals()} }}"


def mutation(name: str, *shown: str) -> str:
    """Write a mutation's document: its one input, its success with ``shown``, and every refusal."""
    kind = name[0].upper() + name[1:]
    selections = {
        "user": "user { ...user }",
        "videoData": "videoData { ...video }",
        "entry": "entry { ...entry }",
        "replayed": "replayed",
    }
    fragments = [VIDEO, REFUSAL] + [USER] * ("user" in shown) + [ENTRY] * ("entry" in shown)
    return f"""mutation {kind}($input: {kind}Input!) {{
      {name}(input: $input) {{
        __typename
        ...refusal
        ... on {kind}Success {{ {" ".join(selections[each] for each in shown)} }}
      }}
    }}
    """ + "\n".join(fragments)


MUTATIONS = {
    name: mutation(name, *named(f"{name[0].upper()}{name[1:]}Success").fields) for name in named("Mutation").fields
}


class Transport(httpx2.ASGITransport):
    """Passes requests to an application as its protocol does: common POSTs take the fast path, unless `asgi_only`."""

    asgi_only: ClassVar = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        fast_path = self.app.state.fast_path  # type: ignore[attr-defined]  # It is our application.
        is_whole = "content-length" in request.headers and (request.method, request.url.path) == ("POST", "/graphql")
        if is_whole and not self.asgi_only:
            given = [(name.lower(), value) for name, value in request.headers.raw]
            head = fast_path.head(given)
            now = asyncio.get_running_loop().time()
            fast = head and fast_path.begin(head, await request.aread(), self.client, request.url.scheme, now)
            if fast is not None:
                status, lines, body = await fast.write()
                written = [tuple(line.split(b": ", 1)) for line in lines.splitlines()]
                return httpx2.Response(status, headers=written, stream=httpx2.ByteStream(body))
        return await super().handle_async_request(request)


class Api:
    """A client of the API that can act as any user."""

    def __init__(self, client: httpx2.AsyncClient, app: Starlette | None = None) -> None:
        self.client = client
        self._app = app

    @property
    def app(self) -> Starlette:
        """The application, where it is served in this process."""
        assert self._app is not None
        return self._app

    async def post(
        self, document: str, variables: Mapping[str, Any] | None = None, *, subject: str | None, role: Role = Role.USER
    ) -> dict[str, Any]:
        """Run a document as a user, or anonymously, and return the whole response."""
        # Not the client's own JSON encoder, which cannot write some invalid input: a lone surrogate, and a number
        # too large for a float, which Python reads from 1e999.
        content = json.dumps({"query": document, "variables": variables or {}}).replace("Infinity", "1e999")
        response = await self.client.post(
            "/graphql", content=content, headers={"Content-Type": "application/json", **headers(subject, role)}
        )
        body: dict[str, Any] = response.json()
        return body

    async def query(
        self, document: str, /, *, subject: str = "ann", role: Role = Role.USER, **variables: Any
    ) -> dict[str, Any]:
        """Return a query's data; an error fails the test."""
        body = await self.post(document, variables, subject=subject, role=role)
        assert "errors" not in body, body["errors"]
        data: dict[str, Any] = body["data"]
        return data

    async def mutate(
        self, name: str, /, *, subject: str = "ann", role: Role = Role.USER, **input: Any
    ) -> dict[str, Any]:
        """Run a mutation and return its result, success or refusal; an error fails the test."""
        data = await self.query(MUTATIONS[name], subject=subject, role=role, input=input)
        result: dict[str, Any] = data[name]
        return result

    async def follow(
        self,
        document: str,
        variables: Mapping[str, Any] | None = None,
        *,
        subject: str | None = "ann",
        role: Role = Role.USER,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Run a subscription without a transport, and yield its results."""
        state = self.app.state
        asked = GraphQLRequest(document, dict(variables or {}), None, None, {})
        identity = Identity(subject, role) if subject else None
        results = state.runner.subscribe(asked, state.runner.prepare(asked), identity)
        async with aclosing(results):
            async for result in results:
                yield json.loads(result)

    async def first(
        self, document: str, variables: Mapping[str, Any] | None = None, *, subject: str | None, role: Role = Role.USER
    ) -> dict[str, Any]:
        """Return a subscription's first result, or its errors."""
        async with aclosing(self.follow(document, variables, subject=subject, role=role)) as results:
            try:
                return await anext(results)
            except NotExecuted as refused:
                return {"errors": [present(error, "error-id") for error in refused.errors]}

    async def register(self, subject: str = "ann", credits: int = 10) -> str:
        """Register a user, bring the balance to ``credits``, and return the user's id."""
        registered = await self.mutate("registerUser", subject=subject)
        user_id: str = registered["user"]["id"]
        amount = credits - registered["user"]["credits"]
        if amount:
            await self.adjust(user_id, amount, f"set-up of {subject}")
        return user_id

    async def adjust(
        self, user_id: str, amount: int, key: str, kind: str = "ADJUSTMENT", **more: Any
    ) -> dict[str, Any]:
        """Adjust a balance as an administrator."""
        return await self.mutate(
            "adjustUserCredits",
            subject="root",
            role=Role.ADMIN,
            userId=user_id,
            amount=amount,
            kind=kind,
            idempotencyKey=key,
            **more,
        )

    async def create(self, key: str, /, subject: str = "ann", **more: Any) -> dict[str, Any]:
        """Create a video as its owner."""
        video = {"title": "Whales", "videoStyle": "realistic", "idempotencyKey": key, **more}
        return await self.mutate("createVideoData", subject=subject, **video)

    async def report(self, record_id: str, /, subject: str = "render-1", **report: Any) -> dict[str, Any]:
        """Report on a video as a worker."""
        return await self.mutate(
            "updateVideoRecordStatus", subject=subject, role=Role.WORKER, recordId=record_id, **report
        )

    async def video(self, key: str = "new", /, subject: str = "ann", **report: Any) -> str:
        """Create a video, report on it once unless it stays QUEUED, and return its id."""
        video_id: str = (await self.create(key, subject=subject))["videoData"]["id"]
        if report:
            await self.report(video_id, **report)
        return video_id

    async def cancel(self, record_id: str, /, subject: str = "ann") -> dict[str, Any]:
        """Cancel a video as its owner."""
        return await self.mutate("cancelVideoData", subject=subject, recordId=record_id)

    async def retry(self, record_id: str, key: str, /, subject: str = "ann") -> dict[str, Any]:
        """Retry a video as its owner."""
        return await self.mutate("retryVideoData", subject=subject, recordId=record_id, idempotencyKey=key)

    async def balance(self, subject: str = "ann") -> int:
        """Read a user's credits."""
        present: int = (await self.query("{ viewer { credits } }", subject=subject))["viewer"]["credits"]
        return present

    async def history(self, record_id: str, /) -> list[dict[str, Any]]:
        """Read a video's events, oldest first."""
        document = """query($id: ID!) {
          videoData(id: $id) { events(last: 100) { nodes { number status attempt actor comments } } }
        }"""
        data = await self.query(document, subject="root", role=Role.ADMIN, id=record_id)
        events: list[dict[str, Any]] = data["videoData"]["events"]["nodes"]
        return events[::-1]


@asynccontextmanager
async def serving(dsn: str, settings: Settings) -> AsyncIterator[Api]:
    """Serve a database with these settings, and call it over HTTP."""
    app = create_app(settings, dsn=dsn)
    async with app.router.lifespan_context(app):
        transport = Transport(app)
        hooks = {"response": [_come_round]}
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver", event_hooks=hooks) as client:
            yield Api(client, app)


async def _come_round(_: httpx2.Response) -> None:
    """Let the event loop run once, as it does before a socket's response is read: then the request has been logged."""
    await asyncio.sleep(0)


def headers(subject: str | None, role: Role = Role.USER) -> dict[str, str]:
    """Return a user's Authorization header, or none for anonymous clients."""
    if subject is None:
        return {}
    token = mint_token(
        SECRET,
        role=role,
        subject=subject,
        audience="videocredits",
        issuer="videocredits",
        role_claim="role",
        expires_in_seconds=3600,
    )
    return {"Authorization": f"Bearer {token}"}
