"""The seed of a development server, which runs at each start, on any data that the developer has left."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

import db.user
import db.video_data
from db.connection_pool import ConnectionPool
from db.database import Database
from db.mutation import Mutation
from resolvers.context import Terms
from resolvers.identity import Role
from schema.node import VideoKey, decode_id
from server.auth.development import IDENTITIES
from server.pages.seed import VIDEOS, VIDEOS_PAID_FOR, seed, seeded_ids
from tests.api import Api

TERMS = Terms(signup_credits=10, video_cost=1)
USER = IDENTITIES[Role.USER]
TABLES = ("users", "credit_entries", "video_data", "video_contents", "video_events")


class KilledError(Exception):
    """The start was killed."""


class Dying(Database):
    """A database whose server is killed before its next statement."""

    def __init__(self, database: Database, statements: int) -> None:
        super().__init__(ConnectionPool(database.pool, 0), timeout_seconds=60)
        self._left = statements

    async def answer(self, mutation: Mutation, user_id: UUID, *arguments: object) -> Sequence[Any]:
        if self._left == 0:
            raise KilledError
        self._left -= 1
        return await super().answer(mutation, user_id, *arguments)


async def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Read all rows of all tables."""
    return {
        table: [tuple(row) for row in await database.rows(f"SELECT * FROM {table} ORDER BY {table}::text")]
        for table in TABLES
    }


async def balance(database: Database) -> int:
    return (await db.user.get_users(database, [USER.user_id]))[USER.user_id].credits


async def statuses(database: Database) -> dict[str, str]:
    """Return the state of each of the seed's videos, by idempotency key."""
    found = {}
    for name, node_id in (await seeded_ids(database)).items():
        key = decode_id(node_id)
        if isinstance(key, VideoKey):
            found[name] = (await db.video_data.get_video_data(database, [key]))[key].status
    return found


async def test_the_first_start(database: Database) -> None:
    """A new database gets a user with spare credits, and a video in each state that the examples need."""
    await seed(database, TERMS)
    assert await statuses(database) == {
        "seed-completed": "COMPLETED",
        "seed-failed": "FAILED",
        "seed-render-queued": "RENDER_QUEUED",
        "seed-ready": "READY",
        "seed-queued": "QUEUED",
    }
    assert await balance(database) == 10 + VIDEOS_PAID_FOR - 4  # Of five charges one is refunded.


async def test_the_second_start(database: Database) -> None:
    """Seeding again changes no row, even if the settings for credits have changed."""
    await seed(database, TERMS)
    before = await everything(database)
    await seed(database, TERMS)
    await seed(database, Terms(signup_credits=500, video_cost=7))
    assert await everything(database) == before


async def test_what_the_developer_did_stays(database: Database, api: Api) -> None:
    """Seeding again reverts nothing: no retry, report, cancelation, name or spent credit."""
    await seed(database, TERMS)
    ids = await seeded_ids(database)
    await api.mutate("registerUser", subject=USER.subject, name="Dana")
    await api.retry(ids["seed-failed"], "again", subject=USER.subject)
    await api.report(ids["seed-queued"], status="COMPLETED")
    await api.report(ids["seed-render-queued"], status="FAILED")
    await api.cancel(ids["seed-ready"], subject=USER.subject)
    await api.mutate("trashVideoData", subject=USER.subject, recordId=ids["seed-completed"])
    await api.adjust(ids["user"], -90, "spent")
    before = await everything(database)
    await seed(database, TERMS)
    assert await everything(database) == before


async def test_a_start_that_was_killed(database: Database) -> None:
    """Wherever a start is killed while it seeds, later starts complete the seed."""
    deaths = 0
    while True:
        try:
            await seed(Dying(database, statements=deaths), TERMS)
        except KilledError:
            deaths += 1
        else:
            break
    assert deaths > len(VIDEOS)
    assert await statuses(database) == {key: video.status.name for key, video in VIDEOS.items()}
    assert await balance(database) == 10 + VIDEOS_PAID_FOR - 4


@pytest.mark.parametrize(
    ("terms", "credits", "videos"),
    [
        (Terms(signup_credits=0, video_cost=1), VIDEOS_PAID_FOR - 4, len(VIDEOS)),
        (Terms(signup_credits=2_147_483_647, video_cost=1), 2_147_483_647 - 4, len(VIDEOS)),
        (Terms(signup_credits=10, video_cost=2_147_483_647), 10, 0),
        (Terms(signup_credits=0, video_cost=1_000_000_000), 147_483_647, 3),
    ],
)
async def test_extreme_terms(database: Database, terms: Terms, credits: int, videos: int) -> None:
    """For any sign-up credits and cost, the seed does what the credits allow, and the server starts."""
    await seed(database, terms)
    assert await balance(database) == credits
    assert len(await statuses(database)) == videos
