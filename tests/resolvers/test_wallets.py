"""A wallet that is not its user's own, as a team's: the credits are the wallet's, whoever spends them is named."""

import asyncio
from collections import Counter
from uuid import UUID, uuid4

import pytest

from db.database import Database
from resolvers.identity import Identity, Role
from resolvers.objects import required
from schema.node import VideoKey, encode_id
from tests.api import Api
from tests.live import VIDEO, following
from tests.race import Account, check_answers_agree, check_verified, statistics

ANN, BOB = Identity("ann", Role.USER).user_id, Identity("bob", Role.USER).user_id
SHOWN = """query($id: ID!) {
  videoData(id: $id) {
    status user { id credits } entries { nodes { kind amount balanceAfter user { id } videoData { id } } }
    events { nodes { status } }
  }
  node(id: $id) { id }
}"""


async def team(api: Api, database: Database, credits: int) -> tuple[Account, Account]:
    """Register Ann and Bob, and give them a wallet together, beside their own; return it for each."""
    await api.register("ann", credits=5)
    await api.register("bob", credits=7)
    team_id = uuid4()
    await database.pool.execute("INSERT INTO wallets (wallet_id) VALUES ($1)", team_id)
    ann, bob = Account(database, ANN, team_id), Account(database, BOB, team_id)
    assert (await ann.adjust("funds", credits, "PURCHASE")).outcome == "adjusted"
    return ann, bob


async def for_whom(database: Database, wallet_id: UUID) -> list[UUID]:
    rows = await database.rows("SELECT user_id FROM credit_entries WHERE wallet_id = $1 ORDER BY number", wallet_id)
    return [row["user_id"] for row in rows]


async def test_a_members_video_is_charged_to_the_wallet(api: Api, database: Database, dsn: str) -> None:
    """Creation, reports, refund, retry, storage and the trash change the wallet that was charged, and no other."""
    ann, bob = await team(api, database, 3)
    created = await bob.create("video")
    video = required(created.video)
    assert (created.outcome, video.wallet_id, video.user_id) == ("created", bob.team_id, BOB)
    assert required(created.wallet).credits == 2
    own = required((await Account(database, BOB).create("video")).wallet)  # An idempotency key is a wallet's.
    assert (own.wallet_id, own.credits) == (BOB, 6)

    video_id = encode_id(VideoKey(video.wallet_id, video.id))
    moved = await api.report(video_id, status="RENDERING")
    shown = {"name": None, "credits": 6, "version": own.version}
    assert {name: moved["user"][name] for name in shown} == shown
    failed = await api.report(video_id, status="FAILED")
    assert (failed["entry"]["amount"], failed["entry"]["balanceAfter"], failed["user"]["credits"]) == (1, 3, 6)
    retried = await api.mutate(
        "retryVideoData", subject="root", role=Role.ADMIN, recordId=video_id, idempotencyKey="again"
    )
    assert (retried["entry"]["amount"], retried["entry"]["balanceAfter"], retried["user"]["credits"]) == (-1, 2, 6)
    assert (await ann.store(video.id, None, script="Once upon a time")).outcome == "updated"
    assert (await ann.trash(video.id, trashed=True)).outcome == "changed"

    assert [entry.kind for entry in await bob.ledger()] == ["PURCHASE", "CHARGE", "REFUND", "CHARGE"]
    assert await for_whom(database, bob.wallet_id) == [ANN, BOB, BOB, BOB]
    counted = "SELECT creations, stored_bytes FROM wallets WHERE wallet_id = $1"
    assert [tuple(row) for row in await database.rows(counted, bob.wallet_id)] == [(2, 65_536)]
    assert (await api.balance("ann"), await api.balance("bob")) == (5, 6)
    await check_verified(dsn)


async def test_a_members_video_is_read_by_its_wallet(api: Api, database: Database) -> None:
    """Whoever reaches the wallet reads the video, its ledger and its history; it is the member's, and no one else's."""
    _, bob = await team(api, database, 3)
    video = required((await bob.create("video")).video)
    video_id = encode_id(VideoKey(video.wallet_id, video.id))
    data = await api.query(SHOWN, subject="render-1", role=Role.WORKER, id=video_id)
    whose = {"id": (await api.query("{ viewer { id } }", subject="bob"))["viewer"]["id"], "credits": 7}
    entry = {
        "kind": "CHARGE",
        "amount": -1,
        "balanceAfter": 2,
        "user": {"id": whose["id"]},
        "videoData": {"id": video_id},
    }
    assert data["node"] == {"id": video_id}
    assert data["videoData"] == {
        "status": "QUEUED",
        "user": whose,
        "entries": {"nodes": [entry]},
        "events": {"nodes": [{"status": "QUEUED"}]},
    }
    hidden = await api.query(SHOWN, subject="ann", id=video_id)
    assert hidden == {"videoData": None, "node": None}


async def test_a_members_video_is_followed(api: Api, database: Database) -> None:
    """A video in a wallet that is not its user's own is pushed live, as any other."""
    _, bob = await team(api, database, 3)
    video = required((await bob.create("video")).video)
    video_id = encode_id(VideoKey(video.wallet_id, video.id))
    async with following(api.follow(VIDEO, {"id": video_id}, subject="render-1", role=Role.WORKER)) as follower:
        assert (await follower.any())["status"] == "QUEUED"
        await api.report(video_id, status="RENDER_QUEUED")
        await follower.until(lambda told: bool(told["queuePosition"] == 1))


async def test_members_share_one_balance(api: Api, database: Database, dsn: str) -> None:
    """Of 50 creations by two members at the same moment, the wallet pays for as many as it has credits."""
    ann, bob = await team(api, database, 30)
    answers = await asyncio.gather(*((ann, bob)[number % 2].create(f"key {number}") for number in range(50)))
    assert Counter(answer.outcome for answer in answers) == {"created": 30, "insufficient_credits": 20}
    check_answers_agree(answers)
    assert (await ann.wallet()).credits == 0
    members = Counter((await for_whom(database, ann.wallet_id))[1:])
    assert members == Counter(required(answer.video).user_id for answer in answers if answer.outcome == "created")
    assert (await api.balance("ann"), await api.balance("bob")) == (5, 7)
    await check_verified(dsn)


@pytest.mark.parametrize("adjustments", [5_000, pytest.param(100_000, marks=pytest.mark.soak)])
async def test_busy_wallets_stay_hot(database: Database, dsn: str, adjustments: int) -> None:
    """A balance changes on its own page: 99.9 % of the updates of ten busy wallets are HOT, and touch no index."""
    accounts = [await Account.open(database, 10) for _ in range(10)]

    async def adjust(account: Account, worker: int) -> None:
        for number in range(adjustments // 50):
            assert (await account.adjust(f"{worker}: {number}", 1)).outcome == "adjusted"

    await asyncio.gather(*(adjust(account, worker) for account in accounts for worker in range(5)))
    counted = "SELECT n_tup_upd AS updates, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = 'wallets'"
    row = await statistics(database, dsn, counted)
    assert row["hot"] >= 0.999 * row["updates"] > 0, dict(row)
