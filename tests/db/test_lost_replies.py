"""A mutation whose reply is lost runs again, recognizes its own work, and answers what it would have answered."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import getrandbits
from typing import Any
from uuid import UUID, uuid4

import pytest

import db.database
import db.user
from db.database import Database
from db.group_commit import ROW_CALLS_MAX
from db.mutation import Mutation
from resolvers.identity import Identity, Role
from resolvers.objects import required
from server.process.settings import Settings
from tests.api import serving
from tests.db.test_interleaving import CALLS, STATES, Call, at_state, everything, plain
from tests.gate import Gate
from tests.race import Account, MutationRow, check_verified, run_alone

ANN = Identity("ann", Role.USER).user_id
ROUNDS = 3  # of each mutation, over a connection that is really cut
OTHERS = 3  # in a batch with the call whose reply is lost
REQUEST_IDS_MAX = 2 * ROW_CALLS_MAX  # that a row keeps

# What somebody else does between a lost reply and the rerun; `None`: nothing.
MEANWHILE: list[str | None] = [
    None,
    "cancel",
    "complete",
    "retry dearly",
    "store",
    "restore",
    "pay 2",
    "more progress of attempt 1",
]


class Forgetful(Database):
    """Runs each statement twice, as if the first reply had been lost, and something else between."""

    def __init__(self, database: Database, meanwhile: Callable[[], Awaitable[object]]) -> None:
        self._database = database
        self._meanwhile = meanwhile

    async def answer(self, mutation: Mutation, user_id: UUID, *arguments: object) -> Sequence[Any]:
        request_id = getrandbits(63)
        await self._run(mutation, user_id, *arguments, request_id)
        await self._meanwhile()
        return await self._run(mutation, user_id, *arguments, request_id)

    async def _run(self, mutation: Mutation, *arguments: object) -> Sequence[Any]:
        record = await self._database.pool.fetchrow(mutation.text_for_one, *arguments)
        return mutation.rows(required(record))


async def nothing() -> None:
    """Let nothing happen between a lost reply and the rerun."""


def outcome(answer: MutationRow) -> str:
    """Return the outcome as clients see it: they are shown 'noted' and 'moved' alike."""
    return "moved" if answer.outcome == "noted" else answer.outcome


@pytest.mark.parametrize("state", STATES)
async def test_a_rerun_answers_as_the_first_run_did(database: Database, dsn: str, state: str) -> None:
    """Each mutation in each state, run twice for one request, has one effect and one outcome, whatever came between.

    A first run that changed nothing is no work to recognize: its rerun may be judged after what came between.
    """
    for first in CALLS:
        for between in MEANWHILE:
            account, video_id = await at_state(database, state)
            unchanged = await everything(account)

            async def meanwhile(
                account: Account = account, video_id: UUID = video_id, between: str | None = between
            ) -> None:
                if between is not None:
                    await CALLS[between](account, video_id)

            answer = await CALLS[first](Account(Forgetful(database, meanwhile), account.user_id), video_id)
            left = await everything(account)
            twin, twin_video_id = await at_state(database, state)
            expected = await CALLS[first](twin, twin_video_id)
            is_changed = await everything(twin) != unchanged
            if between is not None:
                await CALLS[between](twin, twin_video_id)
            told = (outcome(answer), left)
            if told != (outcome(expected), await everything(twin)):
                assert not is_changed, (first, between)
                assert between is not None, first
                twin, twin_video_id = await at_state(database, state)
                await CALLS[between](twin, twin_video_id)
                expected = await CALLS[first](twin, twin_video_id)
                assert told == (outcome(expected), await everything(twin)), (first, between)
            await check_shown(account, answer, expected)
    await check_verified(dsn)


async def check_shown(account: Account, answer: MutationRow, expected: MutationRow) -> None:
    """Check that the rows of an answer are as they are now, and that its entry is the one that it wrote."""
    if (user := getattr(answer, "user", None)) is not None:
        assert user == await account.user()
    if (video := getattr(answer, "video", None)) is not None:
        assert video in await account.videos()
    if (entry := getattr(expected, "entry", None)) is not None:
        assert plain(getattr(answer, "entry", None)) == plain(entry)


async def register(account: Account, name: str) -> MutationRow:
    return await db.user.register_user(
        account.database, account.user_id, str(account.user_id), {"name": name}, 5, "USER:racer"
    )


@pytest.mark.parametrize(("is_new", "expected"), [(True, "registered"), (False, "replayed")])
async def test_a_rerun_registration_leaves_a_later_profile_alone(
    database: Database, is_new: bool, expected: str
) -> None:
    """A registration, or a change of the profile, that runs twice for one request does not undo a later change."""
    account = Account(database, uuid4())
    if not is_new:
        await register(account, "Anna")

    async def meanwhile() -> None:
        await register(account, "Bea")

    answer = await register(Account(Forgetful(database, meanwhile), account.user_id), "Ann")
    assert (answer.outcome, (await account.user()).name) == (expected, "Bea")
    assert len(await account.ledger()) == 1
    assert (await register(account, "Ann")).outcome == "replayed"
    assert (await account.user()).name == "Ann"


async def test_a_request_is_recognized_after_many_others(database: Database) -> None:
    """A rerun finds its change after 15 others of the same video, and no list holds more than 16."""
    account = await Account.open(database, 5)
    video = required((await account.create("key")).video)

    async def many() -> None:
        for progress in range(1, REQUEST_IDS_MAX):
            await account.report(video.id, None, progress=progress)

    answer = await Account(Forgetful(database, many), account.user_id).store(video.id, 1, script="mine")
    assert answer.outcome == "updated"
    await many()
    await account.store(video.id, None, script="mine")
    lengths = "SELECT max(cardinality(request_ids)) FROM video_data"
    assert await database.pool.fetchval(lengths) == REQUEST_IDS_MAX


# Each mutation, once, on a new video: what comes before it, the call, and its outcome.
MUTATIONS: dict[str, tuple[list[Call], Call, str]] = {
    "register": ([], lambda account, _: register(account, "Ann"), "replayed"),
    "create": ([], lambda account, _: account.create("new"), "created"),
    "adjust": ([], lambda account, _: account.adjust("new", 2), "adjusted"),
    "move": ([], lambda account, video: account.report(video, "RENDERING"), "moved"),
    "end": ([], lambda account, video: account.report(video, "COMPLETED", "done"), "moved"),
    "fail": ([], lambda account, video: account.report(video, "FAILED"), "moved"),
    "cancel": ([], lambda account, video: account.report(video, "CANCELED"), "moved"),
    "progress": ([], lambda account, video: account.report(video, None, progress=60), "noted"),
    "note": ([], lambda account, video: account.report(video, None, "by the way"), "noted"),
    "retry": (
        [lambda account, video: account.report(video, "FAILED")],
        lambda account, video: account.retry(video, "again"),
        "restarted",
    ),
    "store": ([], lambda account, video: account.store(video, 1, script="one"), "updated"),
    "trash": ([], lambda account, video: account.trash(video, trashed=True), "changed"),
    "restore": (
        [lambda account, video: account.trash(video, trashed=True)],
        lambda account, video: account.trash(video, trashed=False),
        "changed",
    ),
}


@pytest.fixture
async def lossy(gate: Gate) -> AsyncIterator[Database]:
    """Run statements over connections whose replies can be lost."""
    opened = await db.database.connect(gate.dsn, pool_size=10, timeout_seconds=60)
    yield opened
    await opened.close()


@pytest.mark.parametrize("way", ["alone", "by itself", "batched"])
@pytest.mark.parametrize("name", MUTATIONS)
async def test_a_mutation_whose_reply_is_cut(
    lossy: Database, database: Database, dsn: str, gate: Gate, name: str, way: str
) -> None:
    """Each mutation answers as if nothing had been, with one effect, however it was run and cut.

    Alone, on a connection of the pool; by itself in a batch; and batched with others.
    """
    before, call, expected = MUTATIONS[name]
    if way == "alone":
        await run_alone(lossy)
    for number in range(ROUNDS):
        accounts = [await Account.open(database, 5) for _ in range(1 + (OTHERS if way == "batched" else 0))]
        videos = [required((await account.create("first")).video).id for account in accounts]
        for account, video in zip(accounts, videos, strict=True):
            for earlier in before:
                await earlier(account, video)
        gate.lose_reply(accounts[0].user_id.bytes, nothing)
        answers = await asyncio.gather(
            *(call(Account(lossy, account.user_id), video) for account, video in zip(accounts, videos, strict=True))
        )
        assert len(gate.lost) == number + 1
        assert all(account.user_id.bytes in gate.lost[-1] for account in accounts)
        assert [answer.outcome for answer in answers] == [expected] * len(accounts)
        twin = await Account.open(database, 5)
        video = required((await twin.create("first")).video).id
        for each in (*before, call):
            await each(twin, video)
        for account in accounts:
            assert await everything(account) == await everything(twin)
    await check_verified(dsn)


async def test_reports_on_one_video_in_a_batch_that_is_cut(lossy: Database, database: Database, gate: Gate) -> None:
    """Reports on one video that share a batch, one of them refused, answer as if nothing had been."""
    for _ in range(ROUNDS):
        account = await Account.open(database, 5)
        video = required((await account.create("first")).video).id
        gate.lose_reply(account.user_id.bytes, nothing)
        cut = Account(lossy, account.user_id)
        answers = await asyncio.gather(
            *(cut.report(video, status) for status in ("GENERATING_AUDIO", "READY", "RENDERING", "READY"))
        )
        assert [answer.outcome for answer in answers] == ["moved", "moved", "moved", "illegal_transition"]
        assert (await account.videos())[0].version == 4
    assert len(gate.lost) == ROUNDS


async def test_many_reports_on_one_video_in_a_batch_that_is_cut(
    lossy: Database, database: Database, gate: Gate
) -> None:
    """As many changes of one video as a batch holds are recognized when its reply is lost, although others follow."""
    account = await Account.open(database, 5)
    video = required((await account.create("first")).video).id

    async def others() -> None:
        for _ in range(ROW_CALLS_MAX):
            await account.store(video, None, script="theirs")

    gate.lose_reply(account.user_id.bytes, others)
    cut = Account(lossy, account.user_id)
    answers = await asyncio.gather(*(cut.report(video, None, progress=each + 1) for each in range(ROW_CALLS_MAX)))
    assert len(gate.lost) == 1
    assert {answer.outcome for answer in answers} == {"noted"}


async def test_clients_are_shown_what_the_first_run_did(dsn: str, gate: Gate, settings: Settings) -> None:
    """Over HTTP: an update is no conflict with itself, and of a move, a creation and a retry none is a replay.

    A second request that a client sends itself is one.
    """
    async with serving(dsn, settings) as api, serving(gate.dsn, settings) as cut:
        await api.register(credits=50)
        for number in range(10):
            key = f"key {number}"
            created = await losing(gate, cut.create(key))
            video = created["videoData"]["id"]
            assert not created["replayed"]
            assert (await api.create(key))["replayed"]
            stored = await losing(gate, cut.mutate("updateVideoData", recordId=video, expectedVersion=1, script="one"))
            assert stored["__typename"] == "UpdateVideoDataSuccess"
            again = await api.mutate("updateVideoData", recordId=video, expectedVersion=1, script="one")
            assert again["videoData"] == stored["videoData"]
            other = await api.mutate("updateVideoData", recordId=video, expectedVersion=1, script="two")
            assert other["__typename"] == "VersionConflict"
            for status in ("RENDERING", "FAILED"):
                assert not (await losing(gate, cut.report(video, status=status)))["replayed"]
                assert (await api.report(video, status=status))["replayed"]
            retried = await losing(gate, cut.mutate("retryVideoData", recordId=video, idempotencyKey=f"again {number}"))
            assert not retried["replayed"]
            assert not (await losing(gate, cut.mutate("cancelVideoData", recordId=video)))["replayed"]
            assert (await api.mutate("cancelVideoData", recordId=video))["replayed"]


async def losing(gate: Gate, call: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Return what a mutation of Ann's answers although its first reply is lost."""
    lost = len(gate.lost)
    gate.lose_reply(ANN.bytes, nothing)
    answer = await call
    assert len(gate.lost) == lost + 1
    return answer
