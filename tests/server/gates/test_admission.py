"""Admission: which requests run, wait or are rejected, in which order, and when slots are released."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx2
import pytest
from starlette.types import Message
from throttled import per_hour

from db.database import Database
from server.app import create_app
from server.gates.admission import Admission, Slot, State
from server.process.settings import Settings
from server.wire.request import ClientGone, Refused
from tests.api import Api, Transport, headers, serving
from tests.log import serving_logged
from tests.race import BLOCKED, blocked

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

QUERY = {"query": "{ viewer { id } }"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Allow one request to run and one to wait."""
    return replace(settings, requests_at_once_max=1, requests_waiting_max=1)


@asynccontextmanager
async def locked(database: Database) -> AsyncIterator[None]:
    """Make every query wait for a lock in PostgreSQL."""
    async with database.pool.acquire() as holder, holder.transaction():
        await holder.execute("LOCK TABLE wallets")
        yield


def ask(api: Api, subject: str = "ann") -> "asyncio.Task[httpx2.Response]":
    """Send a query, which runs or waits before any later one arrives."""
    return asyncio.create_task(api.client.post("/graphql", json=QUERY, headers=headers(subject)))


def assert_overloaded(response: httpx2.Response) -> None:
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    (error,) = response.json()["errors"]
    assert error["extensions"] == {"code": "RETRY", "errorId": response.headers["X-Request-Id"]}
    assert "data" not in response.json()


async def test_excess_is_rejected_at_once(dsn: str, settings: Settings, database: Database) -> None:
    """With one request running and one waiting, a third gets RETRY with 503 immediately; both are answered later."""
    async with serving_logged(dsn, settings) as (api, log):
        async with locked(database):
            running = ask(api)
            await blocked(database)
            waiting = ask(api)
            for _ in range(3):
                assert_overloaded(await ask(api))
            assert not running.done()
            assert not waiting.done()
            assert (await api.client.get("/livez")).status_code == 200
            assert (await api.client.get("/readyz")).status_code == 200
        for response in (await running, await waiting, await ask(api)):
            assert (response.status_code, response.json()) == (200, {"data": {"viewer": None}})
        # A rejection is no fault: it adds only the request's line to the log.
        assert [line["level"] for line in log.read()] == ["info"] * 8


async def test_waiting_requests_run_in_order(dsn: str, settings: Settings, database: Database) -> None:
    """Requests of different users run in order of arrival, and never more at once than there are slots."""
    async with serving(dsn, replace(settings, requests_waiting_max=8)) as api:
        served = []

        async def serve(number: int) -> None:
            await ask(api, f"user {number}")
            served.append(number)

        async with asyncio.TaskGroup() as group, locked(database):
            for number in range(9):
                group.create_task(serve(number))
            await blocked(database)
            assert_overloaded(await ask(api))
            assert await database.pool.fetchval(BLOCKED) == 1
        assert served == list(range(9))


async def test_a_wait_ends_at_the_deadline(dsn: str, settings: Settings, database: Database) -> None:
    """A request that still waits at its deadline gets RETRY, and frees its place in the queue."""
    async with serving(dsn, replace(settings, request_timeout_seconds=0.3, requests_waiting_max=2)) as api:
        async with locked(database):
            running = ask(api)
            await blocked(database)
            waiting = [ask(api, "bob"), ask(api, "cyd")]
            assert_overloaded(await ask(api, "dan"))
            assert_overloaded(await waiting[1])
            for each in (running, waiting[0]):
                (error,) = (await each).json()["errors"]
                assert error["extensions"]["code"] == "RETRY"
        assert (await ask(api)).json() == {"data": {"viewer": None}}


async def test_one_user_has_half_of_the_slots(dsn: str, settings: Settings, database: Database) -> None:
    """While one user's requests hang, others are served; beyond half of the queue the user gets LIMIT_EXCEEDED."""
    async with serving(dsn, replace(settings, requests_at_once_max=4, requests_waiting_max=4)) as api:
        ids = [await api.register(subject) for subject in ("ann", "bob")]
        video = await api.video(subject="ann")
        async with database.pool.acquire() as holder, holder.transaction():
            await holder.execute("SELECT FROM video_data FOR UPDATE")
            hanging = [asyncio.create_task(api.cancel(video, subject="ann")) for _ in range(4)]
            await blocked(database)
            refused = await ask(api)
            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            assert refused.json()["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"
            for _ in range(10):
                assert (await ask(api, "bob")).json() == {"data": {"viewer": {"id": ids[1]}}}
            assert not any(each.done() for each in hanging)
        assert [(await each)["replayed"] for each in hanging].count(False) == 1


async def test_the_user_quota_comes_before_admission(dsn: str, settings: Settings, database: Database) -> None:
    """A user over the rate limit is refused immediately although all slots are taken, and occupies no place."""
    limited = replace(settings, requests_waiting_max=2, rate_limit_per_identity=per_hour(1))
    async with serving(dsn, limited) as api:
        assert (await ask(api, "greedy")).status_code == 200
        async with locked(database):
            running = ask(api, "ann")
            await blocked(database)
            for _ in range(3):
                assert (await ask(api, "greedy")).status_code == 429
            waiting = ask(api, "bob")
            await asyncio.sleep(0)
            assert not running.done()
        assert [(await each).status_code for each in (running, waiting)] == [200, 200]


async def test_a_body_takes_no_slot_while_it_arrives(dsn: str, settings: Settings) -> None:
    """Requests with incomplete bodies delay nobody, and are answered once their bodies arrive."""
    async with serving(dsn, settings) as api:
        arrived = asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield b'{"query": '
            await arrived.wait()
            yield b'"{ viewer { id } }"}'

        def upload(number: int) -> "asyncio.Task[httpx2.Response]":
            request = {"Content-Type": "application/json", **headers(f"user {number}")}
            return asyncio.create_task(api.client.post("/graphql", content=slowly(), headers=request))

        uploads = [upload(number) for number in range(20)]
        await asyncio.sleep(0)
        assert (await ask(api)).json() == {"data": {"viewer": None}}
        assert not any(each.done() for each in uploads)
        arrived.set()
        assert {(await each).status_code for each in uploads} <= {200, 503}
        assert (await uploads[0]).json() == {"data": {"viewer": None}}


async def test_a_client_that_leaves_frees_its_place(dsn: str, settings: Settings, database: Database) -> None:
    """A waiting request whose client disconnects frees its place, and is not executed."""
    app = create_app(settings, dsn=dsn)
    leaves = asyncio.Event()
    body = {"type": "http.request", "body": b'{"query": "{ viewer { id } }"}', "more_body": False}
    messages: list[Message] = [{"type": "http.request", "body": b"", "more_body": True}, body]
    sent: list[Message] = []

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=Transport(app), base_url="http://testserver") as client,
    ):
        api = Api(client)
        async with locked(database):
            running = ask(api)
            await blocked(database)
            given = [(b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b"", "headers": given}
            leaving = asyncio.create_task(app({**scope, "client": None}, receive, send))
            for _ in range(10):
                await asyncio.sleep(0)
            assert_overloaded(await ask(api))
            leaves.set()
            await leaving
            assert sent[0]["status"] == 499
            waiting = ask(api)
            assert_overloaded(await ask(api))
            assert not waiting.done()
            waiting.cancel()  # As a server that stops does.
            await asyncio.wait([waiting])
            waiting = ask(api)
            assert_overloaded(await ask(api))
        assert [(await each).status_code for each in (running, waiting)] == [200, 200]


def state_of(admission: Admission) -> tuple[object, ...]:
    return (
        admission.free,
        admission.room,
        admission.admitted,
        admission.waiting,
        dict(admission.next),
    )


async def wait(slot: Slot) -> None:
    try:
        await slot.wait()
    finally:
        slot.release()


async def test_nothing_is_left_of_released_slots() -> None:
    """A slot that is abandoned, cancelled or released no longer waits; one freed at that moment goes to the next."""
    admission = Admission(1, 12)
    running = Slot(admission, "ann")
    left, cancelled, before, _, last = slots = [Slot(admission, "bob") for _ in range(5)]
    waits = [asyncio.create_task(wait(slot)) for slot in slots]
    await asyncio.sleep(0)
    assert {slot.state for slot in slots} == {State.WAITING}
    left.leave()
    waits[1].cancel()
    await asyncio.wait(waits[:2])
    assert isinstance(waits[0].exception(), ClientGone)
    assert (waits[1].cancelled(), left.state, cancelled.state) == (True, State.LEFT, State.RELEASED)
    waits[2].cancel()  # The slot is freed before it has run.
    running.release()
    assert before.state is State.RUNNING
    waits[3].cancel()
    await asyncio.wait(waits)
    assert [each.cancelled() for each in waits[2:]] == [True, True, False]
    assert last.state is State.RELEASED
    left.leave()
    running.release()
    running, gone = Slot(admission, "ann"), Slot(admission, None)
    gone.leave()
    running.release()
    with pytest.raises(ClientGone):
        await wait(gone)
    assert state_of(admission) == (1, 13, {}, {}, {})


async def test_owners_take_turns() -> None:
    """The queue alternates between owners, and no owner has more than half of the slots."""
    admission = Admission(4, 40)
    order: list[str] = []

    async def run(owner: str | None, name: str) -> None:
        slot = Slot(admission, owner)
        try:
            await slot.wait()
            order.append(name)
            await asyncio.sleep(0.001)
            assert owner is None or admission.running(owner) <= 2
            assert admission.free >= 0
        finally:
            slot.release()

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(run("ann", f"ann {number}"))
        await asyncio.sleep(0)
        for _ in range(2):
            Slot(admission, "ann")
        with pytest.raises(Refused):
            Slot(admission, "ann")
        for number in range(3):
            group.create_task(run("bob", f"bob {number}"))
        group.create_task(run(None, "worker"))
    assert order[:2] == ["ann 0", "ann 1"]
    assert sorted(order[2:4]) == ["bob 0", "bob 1"]
    assert order.index("worker") < 8
    assert [each for each in order if "ann" in each] == [f"ann {number}" for number in range(20)]


async def test_a_busy_pool_is_a_retry(dsn: str, settings: Settings) -> None:
    """A request that gets no connection in time is a RETRY, and /readyz reports in time that all are busy."""
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
                reason = "The database has not answered for 2 seconds: it is busy, or cannot be reached."
                assert response.json() == {"status": reason}
                assert (await client.get("/livez")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
            assert (await ask(Api(client))).json() == {"data": {"viewer": None}}
