"""Too many requests at once, and a database that is too busy: who waits, who is told so, and whose place is freed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace

import httpx2
import pytest
from starlette.types import Message

from db.database import Database
from server.app import create_app
from server.gates.admission import Turn, Turns
from server.process.settings import Settings
from server.wire.request import Refused
from tests.api import Api, Transport, headers, serving
from tests.log import serving_logged
from tests.race import BLOCKED, blocked

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

QUERY = {"query": "{ viewer { id } }"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Let one request work and one wait."""
    return replace(settings, requests_at_once_max=1, requests_waiting_max=1)


@asynccontextmanager
async def locked(database: Database) -> AsyncIterator[None]:
    """Keep every query waiting."""
    async with database.pool.acquire() as holder, holder.transaction():
        await holder.execute("LOCK TABLE users")
        yield


def ask(api: Api) -> "asyncio.Task[httpx2.Response]":
    """Send a query, which works or waits for its turn by the time that any later one comes."""
    return asyncio.create_task(api.client.post("/graphql", json=QUERY, headers=headers("ann")))


def assert_overloaded(response: httpx2.Response) -> None:
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    (error,) = response.json()["errors"]
    assert error["extensions"] == {"code": "RETRY", "errorId": response.headers["X-Request-Id"]}
    assert "data" not in response.json()


async def test_more_than_can_wait_is_told_so(dsn: str, settings: Settings, database: Database) -> None:
    """One works, one waits; a third is answered 503 with RETRY while they stand still, and they are answered later."""
    async with serving_logged(dsn, settings) as (api, log):
        async with locked(database):
            working = ask(api)
            await blocked(database)
            waiting = ask(api)
            for _ in range(3):
                assert_overloaded(await ask(api))
            assert not working.done()
            assert not waiting.done()
            assert (await api.client.get("/livez")).status_code == 200
            assert (await api.client.get("/readyz")).status_code == 200
        for response in (await working, await waiting, await ask(api)):
            assert (response.status_code, response.json()) == (200, {"data": {"viewer": None}})
        # What is no fault of the server's is a line of its log and no more.
        assert [line["level"] for line in log.read()] == ["info"] * 8


async def test_who_waits_is_served_in_order(dsn: str, settings: Settings, database: Database) -> None:
    """Whoever came first is served first, and no more at once than may be."""
    async with serving(dsn, replace(settings, requests_waiting_max=8)) as api:
        served = []

        async def serve(number: int) -> None:
            await ask(api)
            served.append(number)

        async with asyncio.TaskGroup() as group, locked(database):
            for number in range(9):
                group.create_task(serve(number))
            await blocked(database)
            assert_overloaded(await ask(api))
            assert await database.pool.fetchval(BLOCKED) == 1
        assert served == list(range(9))


async def test_a_turn_that_does_not_come(dsn: str, settings: Settings, database: Database) -> None:
    """Whoever has waited as long as a request may take is told to come again, and frees the place."""
    async with serving(dsn, replace(settings, request_timeout_seconds=0.3, requests_waiting_max=2)) as api:
        async with locked(database):
            at_work = ask(api)
            await blocked(database)
            turns = [ask(api), ask(api)]  # The second one's would come when twice the time is over.
            assert_overloaded(await ask(api))
            assert_overloaded(await turns[1])
            for each in (at_work, turns[0]):
                (error,) = (await each).json()["errors"]
                assert error["extensions"]["code"] == "RETRY"
        assert (await ask(api)).json() == {"data": {"viewer": None}}


async def test_a_client_that_leaves_frees_its_place(dsn: str, settings: Settings, database: Database) -> None:
    """Whoever leaves while waiting makes room for another, and nothing is done for it."""
    app = create_app(settings, dsn=dsn)
    transport = Transport(app)
    heard = asyncio.Event()
    sent: list[Message] = []

    async def receive() -> Message:
        if heard.is_set():
            await asyncio.sleep(0)
            return {"type": "http.disconnect"}
        heard.set()
        return {"type": "http.request", "body": b'{"query": ', "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client,
    ):
        api = Api(client)
        async with locked(database):
            working = ask(api)
            await blocked(database)
            scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b"", "headers": []}
            await app(scope, receive, send)
            assert sent[0]["status"] == 499
            waiting = ask(api)
            assert_overloaded(await ask(api))
            assert not waiting.done()
            waiting.cancel()  # As a server does that has to stop.
            await asyncio.wait([waiting])
            waiting = ask(api)
            assert_overloaded(await ask(api))
        assert [(await each).status_code for each in (working, waiting)] == [200, 200]


async def test_nothing_is_left_of_who_waits_no_more() -> None:
    """Whoever is left, cancelled or too late waits no more; a turn that comes at the same time is handed on."""
    turns = Turns(1, 6)
    loop = asyncio.get_running_loop()
    with closing(Turn(turns)) as working:
        assert working.begin()

        async def wait(turn: Turn, seconds: float = 30) -> bool:
            with closing(turn):
                return await turn.come(loop.time() + seconds)

        left, *others = (Turn(turns) for _ in range(6))
        leaving, cancelled = asyncio.create_task(wait(left)), asyncio.create_task(wait(others[0]))
        late = asyncio.create_task(wait(others[1], 0))
        await asyncio.sleep(0)
        assert len(turns.waiting) == 3
        left.leave()
        cancelled.cancel()
        assert await leaving is False
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        with pytest.raises(Refused):
            await late
        assert not turns.waiting
        before, after, last = (asyncio.create_task(wait(turn)) for turn in others[2:])
        await asyncio.sleep(0)
        before.cancel()
        working.close()
        after.cancel()
        assert await last is True
    left.leave()
    gone = Turn(turns)
    gone.leave()
    assert await wait(gone) is False
    assert (turns.free, turns.places, len(turns.waiting)) == (1, 7, 0)


async def test_a_body_that_comes_while_waiting_is_whole(dsn: str, settings: Settings, database: Database) -> None:
    """What a waiting client sends is kept for its turn, be it short or longer than what is read ahead."""
    async with serving(dsn, settings) as api:
        for length in (0, 200_000):
            body = f'{{"query": "{{ viewer {{ id }} }}"{" " * length}}}'.encode()
            async with locked(database):
                working = ask(api)
                await blocked(database)

                async def slowly(body: bytes = body) -> AsyncIterator[bytes]:
                    for start in range(0, len(body), 10_000):
                        yield body[start : start + 10_000]
                        await asyncio.sleep(0)

                request = {"Content-Type": "application/json", **headers("ann")}
                waiting = asyncio.create_task(api.client.post("/graphql", content=slowly(), headers=request))
                assert_overloaded(await ask(api))
                for _ in range(200):  # A real server's messages are not lost when who waits for them stops waiting.
                    await asyncio.sleep(0)
            assert (await working).status_code == 200
            assert (await waiting).json() == {"data": {"viewer": None}}


async def test_a_pool_that_is_busy_is_a_retry(dsn: str, settings: Settings) -> None:
    """A request that gets no connection in time is a RETRY, and /readyz says within its own time that all is busy."""
    busy = replace(settings, database_pool_size=1, request_timeout_seconds=0.2)
    app = create_app(busy, dsn=dsn)
    async with app.router.lifespan_context(app):
        transport = Transport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            async with app.state.database.pool.acquire():
                (error,) = (await ask(Api(client))).json()["errors"]
                assert error["extensions"]["code"] == "RETRY"
                response = await client.get("/readyz")
                assert response.status_code == 503
                told = "The database has not answered for 2 seconds: it is busy, or cannot be reached."
                assert response.json() == {"status": told}
                assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            assert (await ask(Api(client))).json() == {"data": {"viewer": None}}
