"""Many callers, one account: whatever races, the sums come out exact and everybody is told the truth."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from random import Random
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import pytest

from db.connection_pool import ConnectionPool
from db.database import Database
from db.video_data import (
    CreateVideoDataRow,
    QuotaRow,
    UpdateVideoRecordStatusRow,
)
from tests.api import Api
from tests.race import (
    REFUNDED,
    Account,
    MutationRow,
    at_once,
    check_answers_agree,
    check_verified,
    deadlocks,
    run_alone,
)

CALLERS = 50
BLOCK_BYTES = 65_536
Rounds: TypeAlias = list[tuple[int, bool]]


@pytest.fixture(params=["alone", "together"])
async def database(request: pytest.FixtureRequest, database: Database) -> Database:
    """Run each call on a connection of its own, as calls of several processes are, or those that wait together."""
    if request.param == "alone":
        await run_alone(database)
    return database


@pytest.fixture(params=[20, pytest.param(400, marks=pytest.mark.soak)])
def rounds(request: pytest.FixtureRequest) -> Rounds:
    """Let half of the rounds run free, and in the others each call have its snapshot before any is decided."""
    return [(number, number % 2 == 1) for number in range(request.param)]


@pytest.mark.parametrize("cost", [1, 7])
async def test_creations_share_the_credits(database: Database, rounds: Rounds, cost: int) -> None:
    """Of 50 creations on credits for 30, exactly 30 are charged; the others are told the balance that is left."""
    for _, held in rounds:
        account = await Account.open(database, 30 * cost + cost - 1)
        answers = await at_once(
            account, [account.create(f"key {caller}", cost=cost) for caller in range(CALLERS)], held=held
        )
        assert Counter(answer.outcome for answer in answers) == {"created": 30, "insufficient_credits": 20}
        check_answers_agree(answers)
        refused = [answer for answer in answers if answer.outcome == "insufficient_credits"]
        assert {(answer.wallet and answer.wallet.credits, answer.video, answer.entry) for answer in refused} == {
            (cost - 1, None, None)
        }
        created = [answer for answer in answers if answer.outcome == "created"]
        # Each is told the balance that its own charge left, and no two the same.
        assert sorted(answer.wallet.credits for answer in created if answer.wallet) == [
            cost - 1 + cost * left for left in range(30)
        ]
        _, *charges = await account.ledger()
        assert [(charge.kind, charge.amount, charge.attempt) for charge in charges] == [("CHARGE", -cost, 1)] * 30
        assert {charge.video_id for charge in charges} == {video.id for video in await account.videos()}
        assert {answer.entry for answer in created} == set(charges)


async def test_creations_share_the_quota_of_a_day(database: Database, rounds: Rounds, dsn: str) -> None:
    """Of 50 creations on a quota with 10 left, exactly 10 are made; the others are told that all of it is used."""
    for _, held in rounds:
        account = await Account.open(database, 1_000)
        for number in range(2):
            await account.create(f"earlier {number}", creations_max=12)
        calls = [account.create(f"key {caller}", creations_max=12) for caller in range(CALLERS)]
        answers = await at_once(account, calls, held=held)
        assert Counter(answer.outcome for answer in answers) == {"created": 10, "creations_exceeded": 40}
        check_answers_agree(answers)
        refused = [answer for answer in answers if answer.outcome == "creations_exceeded"]
        assert {(answer.quota and answer.quota.used, answer.video, answer.entry) for answer in refused} == {
            (12, None, None)
        }
        assert len(await account.videos()) == 12
    await check_verified(dsn)


async def test_creations_share_the_storage(database: Database, rounds: Rounds, dsn: str) -> None:
    """Of 50 creations on storage for 10 of them, exactly 10 are made; the others are told how much is used."""
    for _, held in rounds:
        account = await Account.open(database, 1_000)
        await account.create("earlier")
        calls = [
            account.create(f"key {caller}", script="x" * 65_537, storage_max=21 * BLOCK_BYTES + 1)
            for caller in range(CALLERS)
        ]
        answers = await at_once(account, calls, held=held)
        assert Counter(answer.outcome for answer in answers) == {"created": 10, "storage_exceeded": 40}
        refused = [answer for answer in answers if answer.outcome == "storage_exceeded"]
        assert {answer.quota for answer in refused} == {QuotaRow(21 * BLOCK_BYTES, None)}
        assert len(await account.videos()) == 11
    await check_verified(dsn)


async def test_retries_share_the_quota_of_a_day(database: Database, rounds: Rounds, dsn: str) -> None:
    """Of 50 retries of as many videos on a quota with 10 left, exactly 10 begin; the other videos stay ended."""
    account = await Account.open(database, 1_000)
    videos = [await video(account, f"video {number}") for number in range(CALLERS)]
    for video_id in videos:
        await account.report(video_id, "FAILED")
    begun = CALLERS
    for number, held in rounds:
        begun += 10
        calls = [account.retry(each, f"{number} {each}", creations_max=begun) for each in videos]
        answers = await at_once(account, calls, held=held)
        assert Counter(answer.outcome for answer in answers) == {"restarted": 10, "creations_exceeded": 40}
        check_answers_agree(answers)
        assert Counter(each.status for each in await account.videos()) == {"QUEUED": 10, "FAILED": 40}
        for each in await account.videos():
            await account.report(each.id, "FAILED")
    await check_verified(dsn)


async def test_updates_share_the_storage(database: Database, rounds: Rounds, dsn: str) -> None:
    """Of 50 updates that need a block more on storage for 10, exactly 10 are stored; those that shrink all are."""
    account = await Account.open(database, 1_000)
    videos = [await video(account, f"video {number}") for number in range(CALLERS)]
    for number, held in rounds:
        grow = [account.store(each, None, (CALLERS + 10) * BLOCK_BYTES, script="x" * 65_537) for each in videos]
        answers = await at_once(account, grow, held=held)
        assert Counter(answer.outcome for answer in answers) == {"updated": 10, "storage_exceeded": 40}
        check_answers_agree(answers)
        refused = [answer for answer in answers if answer.outcome == "storage_exceeded"]
        assert {answer.quota for answer in refused} == {QuotaRow((CALLERS + 10) * BLOCK_BYTES, None)}
        shrink = [account.store(each, None, 0, script="x", config=[number]) for each in videos]
        answers = await at_once(account, shrink, held=held)
        assert Counter(answer.outcome for answer in answers) == {"updated": 50}
    await check_verified(dsn)


async def test_updates_of_one_video_are_counted_once(database: Database, rounds: Rounds, dsn: str) -> None:
    """Of 50 updates of one video, each of another size, the last one's size is what counts."""
    for number, held in rounds:
        account = await Account.open(database, 10)
        video_id = await video(account)
        sizes = [caller + 30_000 * (caller % 11) for caller in range(CALLERS)]
        Random(number).shuffle(sizes)
        answers = await at_once(
            account, [account.store(video_id, None, script="x" * size) for size in sizes], held=held
        )
        assert Counter(answer.outcome for answer in answers) == {"updated": 50}
    await check_verified(dsn)


async def test_whatever_races_is_counted(database: Database, dsn: str) -> None:
    """Updates, failures, retries and creations of one user, at once and in any order, are all counted."""
    account = await Account.open(database, 1_000)
    videos = [await video(account, f"video {number}") for number in range(8)]

    def call(chance: Random, key: str) -> Coroutine[Any, Any, MutationRow]:
        each, script = chance.choice(videos), "x" * chance.choice([1, 70_000, 140_000])
        match chance.randrange(5):
            case 0:
                return account.store(each, None, script=script)
            case 1:
                return account.store(each, None, 1, script=script)
            case 2:
                return account.report(each, "FAILED")
            case 3:
                return account.retry(each, key, creations_max=99)
            case _:
                return account.create(key, creations_max=99)

    for number in range(10):
        chance = Random(number)
        check_answers_agree(await asyncio.gather(*(call(chance, f"{number} {caller}") for caller in range(CALLERS))))
    await check_verified(dsn)


async def test_refused_creations_leave_their_keys_free(database: Database) -> None:
    """A creation that was refused for want of credits succeeds under the same key once they are there."""
    account = await Account.open(database, 1)
    keys = [f"key {caller}" for caller in range(CALLERS)]
    await asyncio.gather(*(account.create(key) for key in keys))
    await account.adjust("pay", CALLERS)
    again = await asyncio.gather(*(account.create(key) for key in keys))
    assert Counter(answer.outcome for answer in again) == {"created": CALLERS - 1, "replayed": 1}
    assert len(await account.ledger()) == 2 + CALLERS


async def test_creations_share_the_credits_over_http(api: Api) -> None:
    """Of 50 creations on 30 credits over HTTP, 30 succeed and 20 are told a balance of 0 and a cost of 1."""
    await api.register(credits=30)
    answers = await asyncio.gather(*(api.create(f"key {caller}") for caller in range(CALLERS)))
    refused = [answer for answer in answers if answer["__typename"] == "InsufficientCredits"]
    assert [(answer["balance"], answer["required"]) for answer in refused] == [(0, 1)] * 20
    created = [answer for answer in answers if answer["__typename"] == "CreateVideoDataSuccess"]
    assert sorted(answer["user"]["credits"] for answer in created) == list(range(30))


async def test_failure_reporters_refund_once(database: Database, rounds: Rounds) -> None:
    """Of 50 failure reports one refunds; all are told the first one's comments, its refund and the balance after it."""
    for _, held in rounds:
        account = await Account.open(database, 3)
        video_id = await video(account)
        reports = [account.report(video_id, "FAILED", f"words {caller}") for caller in range(CALLERS)]
        answers = await at_once(account, reports, held=held)
        assert Counter(answer.outcome for answer in answers) == {"moved": 1, "unchanged": CALLERS - 1}
        (first,) = (caller for caller, answer in enumerate(answers) if answer.outcome == "moved")
        assert len({(answer.wallet, answer.entry) for answer in answers}) == 1
        assert all(answer.video == answers[first].video for answer in answers)
        told = answers[first]
        assert told.video
        assert told.wallet
        assert (told.video.status, told.video.comments, told.wallet.credits) == ("FAILED", f"words {first}", 3)
        *_, refund = await account.ledger()
        assert (told.entry, refund.number, refund.kind, refund.amount) == (refund, 3, "REFUND", 1)
        assert await account.videos() == [told.video]


async def test_failure_reporters_refund_once_over_http(api: Api) -> None:
    """Of 50 failure reports over HTTP one refunds, and all show the same video, user and refund."""
    await api.register(credits=3)
    record_id = (await api.create("key"))["videoData"]["id"]
    reports = [api.report(record_id, status="FAILED", comments=f"words {caller}") for caller in range(CALLERS)]
    answers = await asyncio.gather(*reports)
    assert Counter(answer.pop("replayed") for answer in answers) == {False: 1, True: CALLERS - 1}
    assert all(answer == answers[0] for answer in answers)
    assert (answers[0]["user"]["credits"], answers[0]["entry"]["kind"], answers[0]["entry"]["number"]) == (
        3,
        "REFUND",
        4,
    )


async def test_success_and_failure_exclude_each_other(database: Database, rounds: Rounds) -> None:
    """Of 40 failure and 10 success reports the first decides: refund or charge stands, and the others are refused."""
    ended = Counter[str]()
    for number, held in rounds:
        account = await Account.open(database, 3)
        video_id = await video(account)
        statuses = ["FAILED"] * 40 + ["COMPLETED"] * 10
        Random(number).shuffle(statuses)
        answers = await at_once(account, [account.report(video_id, status, status) for status in statuses], held=held)
        check_answers_agree(answers)
        (final,) = await account.videos()
        assert all(answer.video == final for answer in answers)
        same, other = statuses.count(final.status), CALLERS - statuses.count(final.status)
        assert Counter(answer.outcome for answer in answers) == {
            "moved": 1,
            "unchanged": same - 1,
            "illegal_transition": other,
        }
        kinds = [entry.kind for entry in await account.ledger()]
        assert kinds == ["SIGNUP", "CHARGE", "REFUND"] if final.status == "FAILED" else ["SIGNUP", "CHARGE"]
        ended[final.status] += 1
    assert ended["FAILED"]  # The others' turn may never come: a refund does not wait for those who run together.


async def test_cancels_and_retries_among_reporters(database: Database, rounds: Rounds) -> None:
    """With cancels and retries among reports, each attempt has one charge and at most one refund."""
    for number, held in rounds:
        account = await Account.open(database, 6)
        video_id = await video(account)
        await account.report(video_id, "RENDERING", progress=5)
        calls: list[Coroutine[Any, Any, MutationRow]] = [
            *(account.report(video_id, "FAILED", f"words {caller}") for caller in range(15)),
            *(account.report(video_id, "FAILED", f"old words {caller}", attempt=1) for caller in range(10)),
            *(account.report(video_id, "CANCELED") for _ in range(8)),
            *(account.report(video_id, "COMPLETED", attempt=1) for _ in range(2)),
            *(account.retry(video_id, f"retry {caller}") for caller in range(10)),
            *(account.retry(video_id, "retry") for _ in range(5)),
        ]
        Random(number).shuffle(calls)
        answers = await at_once(account, calls, held=held)
        check_answers_agree(answers)
        (final,) = await account.videos()
        outcomes = Counter(answer.outcome for answer in answers)
        kinds = Counter((entry.kind, entry.attempt) for entry in await account.ledger())
        assert max(kinds.values()) == 1
        assert kinds.total() == 1 + final.attempt + final.attempt - (final.status not in REFUNDED)
        assert outcomes["restarted"] == final.attempt - 1
        assert outcomes["moved"] == final.attempt - 1 + (final.status in REFUNDED | {"COMPLETED"})


@pytest.mark.parametrize(
    ("credits", "titles", "expected"),
    [
        pytest.param(9, ["Whales"], {"created": 1, "replayed": 49}, id="credits to spare"),
        pytest.param(1, ["Whales"], {"created": 1, "replayed": 49}, id="the last credit"),
        pytest.param(
            1, ["Whales", "Wales"], {"created": 1, "replayed": 24, "idempotency_key_reused": 25}, id="changed arguments"
        ),
    ],
)
async def test_duplicate_creations(
    database: Database, rounds: Rounds, credits: int, titles: list[str], expected: dict[str, int]
) -> None:
    """Of 50 creations under one key one is charged and the others replay it, or are told that the key was reused."""
    for _, held in rounds:
        account = await Account.open(database, credits)
        calls = [account.create("key", titles[caller % len(titles)]) for caller in range(CALLERS)]
        answers = await at_once(account, calls, held=held)
        assert Counter(answer.outcome for answer in answers) == expected
        (created,) = await account.videos()
        _, charge = await account.ledger()
        replays = [answer for answer in answers if answer.outcome != "idempotency_key_reused"]
        assert {(answer.video and answer.video.id, answer.entry) for answer in replays} == {(created.id, charge)}
        check_answers_agree(replays)


async def test_duplicate_creations_over_http(api: Api) -> None:
    """Of 50 creations under one key over HTTP that take the last credit, one is charged and all show the same."""
    await api.register(credits=1)
    answers = await asyncio.gather(*(api.create("key") for _ in range(CALLERS)))
    assert Counter(answer.pop("replayed") for answer in answers) == {False: 1, True: CALLERS - 1}
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize("credits", [9, 1])
async def test_duplicate_retries(database: Database, rounds: Rounds, credits: int) -> None:
    """Of 50 retries under one key one is charged, with the last credit if need be, and the others replay it."""
    for _, held in rounds:
        account = await Account.open(database, credits)
        video_id = await video(account)
        await account.report(video_id, "FAILED")
        answers = await at_once(account, [account.retry(video_id, "retry") for _ in range(CALLERS)], held=held)
        assert Counter(answer.outcome for answer in answers) == {"restarted": 1, "replayed": CALLERS - 1}
        check_answers_agree(answers)
        *_, charge = await account.ledger()
        assert (charge.number, charge.kind, charge.attempt) == (4, "CHARGE", 2)
        assert {answer.entry for answer in answers} == {charge}


async def test_retries_of_two_videos_under_one_key(database: Database, rounds: Rounds) -> None:
    """Of retries of two videos under one key, those of one video win; the others are told that the key was reused."""
    for _, held in rounds:
        account = await Account.open(database, 2)
        videos = [await video(account, key) for key in ("one", "two")]
        for video_id in videos:
            await account.report(video_id, "FAILED")
        calls = [account.retry(videos[caller % 2], "retry") for caller in range(CALLERS)]
        answers = await at_once(account, calls, held=held)
        assert Counter(answer.outcome for answer in answers) == {
            "restarted": 1,
            "replayed": 24,
            "idempotency_key_reused": 25,
        }
        assert len(await account.ledger()) == 6


@pytest.mark.parametrize(("credits", "amount"), [(0, 7), (9, -3), (3, -3), (2**31 - 8, 7)])
async def test_duplicate_adjustments(database: Database, rounds: Rounds, credits: int, amount: int) -> None:
    """Of 50 deliveries of one payment one counts, and all show it, though the balance may have no room for another."""
    for _, held in rounds:
        account = await Account.open(database, credits)
        calls = [account.adjust("transaction", amount, "PURCHASE") for _ in range(CALLERS)]
        answers = await at_once(account, calls, held=held)
        assert Counter(answer.outcome for answer in answers) == {"adjusted": 1, "replayed": CALLERS - 1}
        check_answers_agree(answers)
        *_, entry = await account.ledger()
        assert {(answer.wallet and answer.wallet.credits, answer.entry) for answer in answers} == {
            (credits + amount, entry)
        }


async def test_one_key_for_different_mutations(database: Database, rounds: Rounds) -> None:
    """One key sent at once for a creation, an adjustment and a retry does one of them; the others are told so."""
    for number, held in rounds:
        account = await Account.open(database, 9)
        video_id = await video(account, "another key")
        await account.report(video_id, "FAILED")
        calls: list[Coroutine[Any, Any, MutationRow]] = [
            *(account.create("key") for _ in range(20)),
            *(account.adjust("key", 5) for _ in range(20)),
            *(account.retry(video_id, "key") for _ in range(10)),
        ]
        Random(number).shuffle(calls)
        answers = await at_once(account, calls, held=held)
        check_answers_agree(answers)
        *before, entry = await account.ledger()
        assert len(before) == 3
        outcomes = Counter(answer.outcome for answer in answers)
        (done,) = outcomes.keys() & {"created", "adjusted", "restarted"}
        sent = 10 if done == "restarted" else 20
        assert outcomes == {done: 1, "replayed": sent - 1, "idempotency_key_reused": CALLERS - sent}
        done_answers = [answer for answer in answers if answer.outcome != "idempotency_key_reused"]
        assert {getattr(answer, "entry", None) for answer in done_answers} == {entry}


async def test_registrations_grant_once(database: Database, rounds: Rounds) -> None:
    """Of 50 first registrations at once one is granted the sign-up credits, and all show that entry."""
    for _ in rounds:
        account = Account(database, uuid4())
        answers = await asyncio.gather(*(account.register(10) for _ in range(CALLERS)))
        assert Counter(answer.outcome for answer in answers) == {"registered": 1, "replayed": CALLERS - 1}
        assert {answer.entry for answer in answers} == set(await account.ledger())


async def test_savers_of_one_version(database: Database, rounds: Rounds) -> None:
    """Of 50 tabs that save the version that they all saw, one saves; the others are told the version that it made."""
    for _, held in rounds:
        account = await Account.open(database, 1)
        video_id = await video(account)
        calls = [account.store(video_id, 1, render_id=f"render {caller}") for caller in range(CALLERS)]
        answers = await at_once(account, calls, held=held)
        assert Counter(answer.outcome for answer in answers) == {"updated": 1, "version_conflict": CALLERS - 1}
        assert [answer.video for answer in answers] == await account.videos() * CALLERS


async def test_trashers_of_one_video(database: Database, rounds: Rounds) -> None:
    """Of 50 that put one video into the trash one changes it, and all are shown the same."""
    for _, held in rounds:
        account = await Account.open(database, 1)
        video_id = await video(account)
        answers = await at_once(account, [account.trash(video_id, True) for _ in range(CALLERS)], held=held)
        assert Counter(answer.outcome for answer in answers) == {"changed": 1, "unchanged": CALLERS - 1}
        assert [answer.video for answer in answers] == await account.videos() * CALLERS


async def test_the_seed_scenario(api: Api) -> None:
    """Of 10 credits two creations at once leave 8; one of the videos failing, told by four reporters, makes 9."""
    user_id = await api.register(credits=10)
    one, two = await asyncio.gather(api.create("click one"), api.create("click two"))
    assert sorted(answer["user"]["credits"] for answer in (one, two)) == [8, 9]
    assert await balance(api, user_id) == 8
    record_id = one["videoData"]["id"]
    reporters = ("render call", "render webhook", "on failure", "upload")
    reports = await asyncio.gather(
        *(api.report(record_id, subject=who, status="FAILED", comments=who) for who in reporters)
    )
    assert {report["__typename"] for report in reports} == {"UpdateVideoRecordStatusSuccess"}
    assert {report["user"]["credits"] for report in reports} == {9}
    assert len({report["videoData"]["comments"] for report in reports}) == 1
    assert await balance(api, user_id) == 9
    assert [report["replayed"] for report in reports].count(False) == 1


@pytest.mark.parametrize("operations", [2_000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_a_mixed_load(database: Database, dsn: str, operations: int) -> None:
    """A load of all mutations on six users, single calls beside batches, is told to the callers as the tables have it.

    Nothing deadlocks, and nothing but a designed outcome is answered.
    """
    accounts = [await Account.open(database, 20) for _ in range(6)]
    others = [
        Account(Database(ConnectionPool(database.pool, 0), timeout_seconds=60), account.user_id) for account in accounts
    ]
    videos: dict[UUID, list[UUID]] = {account.user_id: [uuid4()] for account in accounts}
    answers: dict[UUID, list[MutationRow]] = {account.user_id: [] for account in accounts}

    async def caller(number: int) -> None:
        random = Random(number)
        for _ in range(operations // CALLERS):
            account = random.choice((accounts, others)[number % 2])
            answer = await some_call(random, account, videos[account.user_id])
            answers[account.user_id].append(answer)
            if isinstance(answer, CreateVideoDataRow) and answer.video and answer.outcome == "created":
                videos[account.user_id].append(answer.video.id)

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))
    assert set[str]().union(*(outcomes(told) for told in answers.values())) == DESIGNED_OUTCOMES
    for account in accounts:
        told = answers[account.user_id]
        check_answers_agree(told)
        counted = outcomes(told)
        ledger = await account.ledger()
        kinds = Counter(entry.kind for entry in ledger)
        assert kinds["CHARGE"] == counted["created"] + counted["restarted"]
        assert kinds["ADJUSTMENT"] == counted["adjusted"]
        assert kinds["REFUND"] == sum(
            answer.outcome == "moved" and answer.video is not None and answer.video.status in REFUNDED
            for answer in told
            if isinstance(answer, UpdateVideoRecordStatusRow)
        )
        assert {entry for answer in told if (entry := getattr(answer, "entry", None))} <= set(ledger)
        assert len(await account.videos()) == counted["created"]
    await check_verified(dsn)
    assert await deadlocks(database, dsn) == 0


DESIGNED_OUTCOMES = {
    *("created", "replayed", "idempotency_key_reused", "insufficient_credits", "adjusted", "restarted"),
    *("moved", "noted", "unchanged", "stale_attempt", "illegal_transition", "video_data_not_found"),
    *("changed", "updated", "version_conflict"),
}


def outcomes(answers: Iterable[MutationRow]) -> Counter[str]:
    return Counter(answer.outcome for answer in answers)


def some_call(random: Random, account: Account, videos: list[UUID]) -> Coroutine[Any, Any, MutationRow]:
    """Make a call at random, mostly about one of the newest videos, under a key that may have been used before."""
    key = f"key {random.randrange(400)}"
    cost = random.randint(1, 3)
    video_id = random.choice(videos[-8:])
    attempt = random.choice([None, None, 1, 2])
    forward = random.choice(["GENERATING_AUDIO", "READY", "RENDER_QUEUED", "RENDERING", "RENDERING", "COMPLETED"])
    calls: list[tuple[int, Callable[[], Coroutine[Any, Any, MutationRow]]]] = [
        (24, lambda: account.create(key, random.choice(["Whales"] * 9 + ["Wales"]), cost)),
        (10, lambda: account.adjust(key, random.choice([-9, -2, -1, 1, 2, 8]))),
        (8, lambda: account.retry(video_id, key, cost)),
        (20, lambda: account.report(video_id, None, progress=random.randrange(101), attempt=attempt)),
        (16, lambda: account.report(video_id, forward, attempt=attempt)),
        (10, lambda: account.report(video_id, "FAILED", key, attempt=attempt)),
        (4, lambda: account.report(video_id, "CANCELED")),
        (3, lambda: account.trash(video_id, random.choice([True, False]))),
        (3, lambda: account.store(video_id, random.choice([None, 2, 5]), script=key)),
        (2, lambda: account.register(20)),
    ]
    (call,) = random.choices([call for _, call in calls], [weight for weight, _ in calls])
    return call()


async def video(account: Account, key: str = "key") -> UUID:
    """Create a video that costs 1, and return its id."""
    answer = await account.create(key)
    assert answer.video
    return answer.video.id


async def balance(api: Api, user_id: str) -> int:
    """Read a balance anew."""
    user = (await api.query("query ($id: ID!) { user(id: $id) { credits } }", id=user_id))["user"]
    found: int = user["credits"]
    return found
