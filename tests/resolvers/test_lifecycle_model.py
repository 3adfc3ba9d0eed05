"""The server and a plain Python model of it, driven by the same calls, agree on every answer."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from itertools import count
from typing import Any, ClassVar, NamedTuple, TypeVar
from uuid import UUID

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

import db.database
import db.video_data
import db.video_event
from resolvers.identity import Identity, Role
from schema.node import UserKey, VideoKey, encode_id
from server.process.settings import Settings
from tests.api import serving
from tests.model import BLOCK_BYTES, CREDITS_MAX, REFUNDED, STAGES, Answer, Model
from tests.race import Account, check_verified

Result = TypeVar("Result")

SIGNUP_CREDITS = 3
CREATIONS_MAX = {1: 7, 2: 3}  # of the server at each cost
STORAGE_MAX = 6 * BLOCK_BYTES
MOMENTS = {"createdAt", "updatedAt", "queuedAt", "renderStartedAt", "trashedAt", "firstPurchasedAt", "resetsAt"}
people = st.sampled_from(["ann", "ann", "ann", "ann", "bob"])
owners = st.sampled_from([True, True, True, True, False])  # Whether it is the owner who calls.
keys = st.sampled_from([f"key {number}" for number in range(24)])
words = st.none() | st.sampled_from(["it broke", {"error": 1, "at": [2, None]}])
urls = st.none() | st.sampled_from(["https://cdn.example/1", "https://cdn.example/2"])
WHALE = "\N{WHALE}"  # of 4 bytes
stored = st.fixed_dictionaries(
    {},
    optional={
        "script": st.none() | st.sampled_from(["Once upon", "a time"]),
        "downloadUrl": urls,
        "renderId": st.none() | st.just("render-7"),
        "volume": st.just({"backgroundMusic": 0.5, "voice": 0.25}),
        "musicTrack": st.none() | st.just({"name": "Calm", "url": "https://cdn.example/calm"}),
    },
).filter(bool)

profiles = st.fixed_dictionaries(
    {}, optional={"name": st.none() | st.sampled_from(["Ann", "Anna"]), "email": st.none() | st.just("ann@example.com")}
)

# Every outcome of each mutation: the calls must reach all of them, or the test proves little.
EVERY_RESULT = {
    (mutation, typename)
    for mutation, refusals in {
        "registerUser": (),
        "adjustUserCredits": ("IdempotencyKeyReused", "UserNotFound", "InsufficientCredits", "CreditsOutOfRange"),
        "createVideoData": ("IdempotencyKeyReused", "UserNotFound", "QuotaExceeded", "InsufficientCredits"),
        "updateVideoRecordStatus": (
            *("VideoDataNotFound", "StaleAttempt", "IllegalTransition", "OperationRefused"),
            "ContradictoryReport",
        ),
        "cancelVideoData": ("VideoDataNotFound", "IllegalTransition", "OperationRefused"),
        "retryVideoData": (
            *("IdempotencyKeyReused", "VideoDataNotFound", "IllegalTransition", "QuotaExceeded"),
            "InsufficientCredits",
        ),
        "trashVideoData": ("VideoDataNotFound",),
        "restoreVideoData": ("VideoDataNotFound",),
        "updateVideoData": ("VideoDataNotFound", "VersionConflict", "QuotaExceeded"),
    }.items()
    for typename in (f"{mutation[0].upper()}{mutation[1:]}Success", *refusals)
}


TERMS: dict[str, Any] = {
    "signup_credits": SIGNUP_CREDITS,
    "storage_bytes_per_user_max": STORAGE_MAX,
}


class World:
    """One database, and two servers on it with different video costs and daily quotas."""

    def __init__(self, runner: asyncio.Runner, dsn: str, settings: Settings) -> None:
        self.run = runner.run
        self.numbers = count()
        self.seen: set[tuple[str, str]] = set()
        self._stack = AsyncExitStack()
        self.run(self._open(dsn, replace(settings, **TERMS)))

    async def _open(self, dsn: str, settings: Settings) -> None:
        self.database = await db.database.connect(dsn, pool_size=2, timeout_seconds=60)
        self._stack.push_async_callback(self.database.close)
        self.servers = {
            cost: await self._stack.enter_async_context(
                serving(dsn, replace(settings, video_cost=cost, creations_per_day_max=CREATIONS_MAX[cost]))
            )
            for cost in (1, 2)
        }

    def close(self) -> None:
        self.run(self._stack.aclose())


class Call(NamedTuple):
    """A call that was sent, and the model's answer to it."""

    send: Callable[[], Coroutine[Any, Any, Answer]]
    expected: Callable[[Answer], Answer]


async def both(one: Coroutine[Any, Any, Result], other: Coroutine[Any, Any, Result]) -> list[Result]:
    return list(await asyncio.gather(one, other))


def in_no_order(answers: list[Answer]) -> list[str]:
    return sorted(json.dumps(answer, sort_keys=True) for answer in answers)


def without_times(shown: Any) -> Any:
    """Replace each time by whether there is one, and remove messages."""
    if isinstance(shown, dict):
        return {
            name: part is not None if name in MOMENTS else without_times(part)
            for name, part in shown.items()
            if name != "message"
        }
    return shown


class Lifecycle(RuleBasedStateMachine):
    """Sends each call to the server and to the model."""

    world: ClassVar[World]
    videos: Bundle[str] = Bundle("videos")

    def __init__(self) -> None:
        super().__init__()
        self.number = next(self.world.numbers)
        self.cost = 1
        queued = self.world.run(self.world.database.pool.fetchval("SELECT count(queue_id) FROM video_data"))
        self.model = Model(SIGNUP_CREDITS, queued, STORAGE_MAX)
        self.last: Call | None = None
        self.agreed = True

    @initialize(target=videos)
    def begin(self) -> MultipleResults[str]:
        self.register("ann", {})
        self.create("ann", "key 1", "Whales")
        self.create("ann", "key 2", "Whales")
        never_was = encode_id(VideoKey(Identity(self.subject("ann"), Role.USER).user_id, UUID(int=7)))
        return multiple(*self.model.videos, never_was)

    @rule(cost=st.sampled_from([1, 2]))
    def change_price(self, cost: int) -> None:
        self.cost = cost

    @rule(who=people, profile=profiles)
    def register(self, who: str, profile: dict[str, str | None]) -> None:
        subject = self.subject(who)
        self.call("registerUser", profile, lambda _: self.model.register(subject, profile), subject=subject)

    @rule(
        who=people,
        amount=st.sampled_from([-5, -1, 1, 2, 5, CREDITS_MAX]),
        kind=st.sampled_from(["PURCHASE", "REWARD", "ADJUSTMENT"]),
        key=keys,
        memo=st.none() | st.just("sorry"),
        take_available=st.sampled_from([False, False, False, True]),
    )
    def adjust(self, who: str, amount: int, kind: str, key: str, memo: str | None, take_available: bool) -> None:
        subject = self.subject(who)
        user_id = encode_id(UserKey(Identity(subject, Role.USER).user_id))
        self.call(
            "adjustUserCredits",
            {
                "userId": user_id,
                "amount": amount,
                "takeAvailable": take_available,
                "kind": kind,
                "idempotencyKey": key,
                "memo": memo,
            },
            lambda _: self.model.adjust(subject, amount, kind, key, memo, take_available=take_available),
            subject="root",
            role=Role.ADMIN,
        )

    @rule(balance=st.sampled_from([0, 1, CREDITS_MAX, CREDITS_MAX]), key=keys)
    def adjust_to(self, balance: int, key: str) -> None:
        user = self.model.users[Identity(self.subject("ann"), Role.USER).user_id]
        if amount := balance - user.shown["credits"]:
            self.adjust("ann", amount, "ADJUSTMENT", key, None, take_available=False)

    @rule(target=videos, who=people, key=keys, title=st.sampled_from(["Whales", "Whales", "Wales"]))
    def create(self, who: str, key: str, title: str) -> MultipleResults[str]:
        subject, cost = self.subject(who), self.cost
        answer = self.call(
            "createVideoData",
            {"title": title, "videoStyle": "realistic", "idempotencyKey": key},
            lambda answer: self.model.create(
                subject, key, title, cost, CREATIONS_MAX[cost], answer.get("videoData", {}).get("id")
            ),
            subject=subject,
        )
        return multiple() if answer.get("replayed", True) else multiple(answer["videoData"]["id"])

    @rule(
        id=videos,
        status=st.none() | st.sampled_from([*STAGES, "RENDER_QUEUED", "RENDERING", *REFUNDED]),
        comments=words,
        progress=st.none() | st.sampled_from([0, 30, 60, 100]),
        url=urls,
        attempt=st.none() | st.none() | st.integers(1, 3),
    )
    def report(
        self, id: str, status: str | None, comments: Any, progress: int | None, url: str | None, attempt: int | None
    ) -> None:
        hypothesis.assume((status, comments, progress, url) != (None, None, None, None))
        said = {"status": status, "comments": comments, "attempt": attempt}
        self.call(
            "updateVideoRecordStatus",
            {"recordId": id, **said, "renderProgress": progress, "downloadUrl": url},
            lambda _: self.model.report(
                "UpdateVideoRecordStatus", "WORKER:render-1", id, **said, progress=progress, url=url
            ),
            subject="render-1",
            role=Role.WORKER,
        )

    @rule(id=videos, progress=st.integers(0, 100), attempt=st.none() | st.integers(1, 3))
    def report_progress(self, id: str, progress: int, attempt: int | None) -> None:
        self.report(id, None, None, progress, None, attempt)

    @rule(id=videos, comments=words)
    def fail(self, id: str, comments: Any) -> None:
        self.report(id, "FAILED", comments, None, None, None)

    @rule(id=videos, owner=owners)
    def cancel(self, id: str, owner: bool) -> None:
        subject = self.caller(id, owner=owner)
        self.call("cancelVideoData", {"recordId": id}, lambda _: self.model.cancel(subject, id), subject=subject)

    @rule(id=videos, key=keys, owner=owners)
    def retry(self, id: str, key: str, owner: bool) -> None:
        subject, cost = self.caller(id, owner=owner), self.cost
        self.call(
            "retryVideoData",
            {"recordId": id, "idempotencyKey": key},
            lambda _: self.model.retry(subject, id, key, cost, CREATIONS_MAX[cost]),
            subject=subject,
        )

    @rule(id=videos, trashed=st.booleans(), owner=owners)
    def trash(self, id: str, trashed: bool, owner: bool) -> None:
        subject = self.caller(id, owner=owner)
        self.call(
            "trashVideoData" if trashed else "restoreVideoData",
            {"recordId": id},
            lambda _: self.model.trash(subject, id, trashed=trashed),
            subject=subject,
        )

    @rule(
        id=videos,
        expected_version=st.none() | st.integers(1, 6),
        stored=stored,
        whales=st.sampled_from([0, 0, 0, 0, 40_000]),
    )
    def update(self, id: str, expected_version: int | None, stored: dict[str, Any], whales: int) -> None:
        more = {"script": WHALE * whales} if whales else {}
        self.store(Identity("render-1", Role.WORKER), id, expected_version, {**stored, **more})

    @rule(
        id=videos,
        expected_version=st.none() | st.integers(1, 6),
        whales=st.sampled_from([0, 1, 20_000, 40_000]),
        owner=owners,
    )
    def edit(self, id: str, expected_version: int | None, whales: int, owner: bool) -> None:
        caller = Identity(self.caller(id, owner=owner), Role.USER)
        self.store(caller, id, expected_version, {"script": WHALE * whales or None})

    def store(self, caller: Identity, id: str, expected_version: int | None, stored: dict[str, Any]) -> None:
        self.call(
            "updateVideoData",
            {"recordId": id, "expectedVersion": expected_version, **stored},
            lambda _: self.model.update(caller, id, expected_version, stored),
            subject=caller.subject,
            role=caller.role,
        )

    @precondition(lambda self: self.last is not None)
    @rule()
    def send_again_twice_at_once(self) -> None:
        assert self.last is not None
        send, expected = self.last
        answers = self.world.run(both(send(), send()))
        self.agreed = in_no_order(answers) == in_no_order([expected(answer) for answer in answers])
        assert self.agreed, answers

    def call(
        self,
        mutation: str,
        input: dict[str, Any],
        expected: Callable[[Answer], Answer],
        *,
        subject: str,
        role: Role = Role.USER,
    ) -> Answer:
        """Send a call and check that the server answers like the model."""
        server = self.world.servers[self.cost]

        async def send() -> Answer:
            answer: Answer = without_times(await server.mutate(mutation, subject=subject, role=role, **input))
            return answer

        self.last = Call(send, expected)
        answer = self.world.run(send())
        modelled = expected(answer)
        self.world.seen.add((mutation, answer["__typename"]))
        self.agreed = answer == modelled
        assert answer == modelled
        return answer

    def subject(self, who: str) -> str:
        """Return a subject that no other sequence uses."""
        return f"{who} {self.number}"

    def caller(self, id: str, *, owner: bool) -> str:
        """Return the owner of a video, or somebody else."""
        video = self.model.videos.get(id)
        return self.subject("ann") if video is None else video.owner.identity.subject if owner else self.subject("eve")

    def teardown(self) -> None:
        if self.agreed:
            self.world.run(self.compare_all())

    async def compare_all(self) -> None:
        """Check that the tables hold what the model holds: balances, ledgers, videos and events."""
        for user in self.model.users.values():
            account = Account(self.world.database, user.identity.user_id)
            assert [tuple(entry)[1:5] for entry in await account.ledger()] == [
                tuple(entry[part] for part in ("number", "kind", "amount", "balanceAfter")) for entry in user.entries
            ]
            assert (await account.user()).credits == user.shown["credits"]
            videos = {video_id: video for video_id, video in self.model.videos.items() if video.owner is user}
            rows = {str(encode_id(VideoKey(row.user_id, row.id))): row for row in await account.videos()}
            assert rows.keys() == videos.keys()
            for video_id, row in rows.items():
                video, key = videos[video_id], (row.user_id, row.id)
                assert (row.status, row.version) == (video.shown["status"], video.shown["version"])
                content = await db.video_data.get_video_content(account.database, [key], ["script"], 10**6)
                assert content[key].script == video.script
                pages = await db.video_event.list_video_events(account.database, [key], 2**31 - 1, 0, 1000, True)
                assert [
                    (event.status, event.attempt, event.actor, event.comments) for event in pages[key]
                ] == video.events


@pytest.mark.parametrize(
    "run",
    [
        pytest.param(hypothesis.settings(max_examples=300, stateful_step_count=50, derandomize=True), id="some"),
        pytest.param(
            hypothesis.settings(max_examples=2_000, stateful_step_count=60), id="many", marks=pytest.mark.soak
        ),
    ],
)
def test_the_server_agrees_with_the_model(dsn: str, settings: Settings, run: hypothesis.settings) -> None:
    """For any sequence of calls, every answer and finally every row equals the model's."""
    # The machine's speed must not decide the outcome.
    unhurried = hypothesis.settings(run, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    with asyncio.Runner() as runner, closing(World(runner, dsn, settings)) as world:
        Lifecycle.world = world
        run_state_machine_as_test(Lifecycle, settings=unhurried)
        assert world.seen == EVERY_RESULT
        runner.run(check_verified(dsn))
