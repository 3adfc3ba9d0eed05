"""The Python client, blocking and asynchronous, against a running server."""

import asyncio
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from resolvers.identity import Identity, Role
from schema.node import UserKey, VideoKey, encode_id
from server.auth.tokens import mint_token
from server.process.settings import Settings
from tests.api import SECRET, Api
from tests.sockets import Site, site
from tests.wire import Wire, answer
from videocredits_client import ApiError, AsyncClient, Client, NetworkError, UnexpectedAnswerError, operations
from videocredits_client import types as answered
from videocredits_client.operation import Operation

PACKAGE = Path(__file__).parents[2] / "clients" / "python"
SCHEMA = Path(__file__).parents[2] / "schema.graphql"
CACHE = Path(__file__).parents[2] / ".mypy_cache" / "examples"  # Cached, since analyzing the libraries takes longest.
REFUSALS = {cls for cls in vars(answered).values() if inspect.isclass(cls) and answered.Refusal in cls.__bases__}

ANN, BOB = (Identity(subject, Role.USER).user_id for subject in ("ann", "bob"))
UNKNOWN_USER, UNKNOWN_VIDEO = str(encode_id(UserKey(BOB))), str(encode_id(VideoKey(ANN, BOB)))
VIDEO = {"title": "Whales", "video_style": "realistic"}


def token(subject: str = "ann", role: Role = Role.USER, *, expires_in_seconds: int = 3600) -> str:
    return mint_token(
        SECRET,
        role=role,
        subject=subject,
        audience="videocredits",
        issuer="videocredits",
        role_claim="role",
        expires_in_seconds=expires_in_seconds,
    )


class Opener:
    """Opens clients, and makes all their methods awaitable."""

    def __init__(self, face: type[Client | AsyncClient], url: str) -> None:
        self.face = face
        self.url = url
        self.stack = AsyncExitStack()

    def __call__(
        self, subject: str = "ann", role: Role = Role.USER, *, url: str | None = None, **options: Any
    ) -> "Caller":
        client = self.face(url or self.url, **({"token": token(subject, role)} | options))
        if isinstance(client, Client):
            self.stack.enter_context(client)
        else:
            self.stack.push_async_exit(client)
        return Caller(client)


class Caller:
    """A client of either kind, with awaitable methods."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            if inspect.iscoroutinefunction(method):
                return await method(*arguments, **named)
            return await asyncio.to_thread(method, *arguments, **named)

        return call

    async def all(self, page: str, **named: Any) -> list[Any]:
        method = getattr(self.client, page)
        if isinstance(self.client, AsyncClient):
            return [item async for item in self.client.each(method, **named)]
        return await asyncio.to_thread(lambda: list(self.client.each(method, **named)))  # type: ignore[arg-type] # It is a Client.


@pytest.fixture
async def served(settings: Settings, dsn: str) -> AsyncIterator[Site]:
    async with site(settings, dsn) as opened:
        yield opened


@pytest.fixture
async def wire(served: Site) -> AsyncIterator[Wire]:
    async with Wire(served.address) as opened:
        yield opened


@pytest.fixture(params=[Client, AsyncClient])
async def open_client(request: pytest.FixtureRequest, served: Site) -> AsyncIterator[Opener]:
    opener = Opener(request.param, f"http://{served.address}/graphql")
    async with opener.stack:
        yield opener


@pytest.fixture
async def ann(served: Site) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(f"http://{served.address}/graphql", token()) as client:
        yield client


async def test_workers_race_for_videos(open_client: Opener, served: Site) -> None:
    """Of ten workers that claim concurrently, each gets another video, and those left over get none."""
    await served.api.register()
    queued = {await served.api.video(f"key {number}", status="RENDER_QUEUED") for number in range(6)}
    workers = [open_client(f"render-{number}", Role.WORKER) for number in range(10)]
    claimed = await asyncio.gather(*(worker.claim_render() for worker in workers))
    videos = [video for video in claimed if video is not None]
    assert sorted(video.id for video in videos) == sorted(queued)
    assert {video.status for video in videos} == {answered.VideoStatus.RENDERING}
    assert await workers[0].claim_render() is None


async def test_a_claim_outlives_its_lost_answer(open_client: Opener, served: Site, wire: Wire) -> None:
    """A worker whose RENDERING move lost its response still gets the video, and no other worker does."""
    await served.api.register()
    video_id = await served.api.video(status="RENDER_QUEUED")
    wire.lost = b"updateVideoRecordStatus"
    claimed = await open_client("render-1", Role.WORKER, url=wire.url).claim_render()
    assert claimed.id == video_id
    assert [b"updateVideoRecordStatus" in body for body in wire.bodies] == [False, True, True]
    assert [event["status"] for event in await served.api.history(video_id)][-1] == "RENDERING"
    assert await open_client("render-2", Role.WORKER).claim_render() is None


async def test_a_creation_with_a_lost_response_happens_once(open_client: Opener, served: Site, wire: Wire) -> None:
    """A creation whose response is lost is sent again with its key, returns a replay, and is charged once."""
    await served.api.register()
    wire.lost = b"createVideoData"
    created = await open_client(url=wire.url).create_video_data(**VIDEO, idempotency_key="click")
    assert isinstance(created, answered.CreateVideoDataSuccess)
    assert (created.replayed, created.user.credits, created.entry.idempotency_key) == (True, 9, "click")
    assert len(wire.bodies) == 2
    assert wire.bodies[0] == wire.bodies[1]
    assert await served.api.balance() == 9


@pytest.mark.parametrize(
    "passing",
    [
        answer(503, '{"errors": [{"message": "Busy.", "extensions": {"code": "RETRY"}}]}', "Retry-After: 0"),
        answer(429, '{"errors": [{"message": "Wait.", "extensions": {"code": "LIMIT_EXCEEDED"}}]}', "Retry-After: 0"),
        answer(500, '{"errors": [{"message": "Oh.", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}'),
        answer(502, "<h1>Bad gateway</h1>"),
    ],
    ids=["retry", "limit", "fault", "proxy"],
)
async def test_transient_failures_are_retried(open_client: Opener, served: Site, wire: Wire, passing: bytes) -> None:
    """RETRY, a limit with Retry-After, a fault, and a proxy without a server are followed by the same request."""
    user_id = await served.api.register()
    wire.answers = [passing]
    adjusted = await open_client("root", Role.ADMIN, url=wire.url).adjust_user_credits(
        user_id=user_id, amount=5, kind=answered.AdjustmentKind.REWARD, idempotency_key="friend"
    )
    assert (adjusted.replayed, adjusted.user.credits) == (False, 15)
    assert len(wire.bodies) == 2
    assert wire.bodies[0] == wire.bodies[1]


async def test_permanent_failures_are_not_retried(open_client: Opener, wire: Wire) -> None:
    """Limits without Retry-After, a second fault, and responses from other servers are raised immediately."""
    fault = answer(500, '{"errors": [{"message": "Oh.", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]}')
    limit = answer(400, '{"errors": [{"message": "No.", "extensions": {"code": "LIMIT_EXCEEDED"}}]}')
    client = open_client(url=wire.url)
    for answers, code in ([fault, fault], "INTERNAL_SERVER_ERROR"), ([limit], "LIMIT_EXCEEDED"):
        wire.answers = list(answers)
        with pytest.raises(ApiError) as raised:
            await client.viewer()
        assert raised.value.code == code
        assert wire.answers == []
    wire.answers = [answer(200, "<h1>Welcome to the hotel's network</h1>")]
    with pytest.raises(UnexpectedAnswerError, match="check the address"):
        await client.viewer()
    wire.answers = [answer(200, '{"data": {"viewer": {"id": "user_1"}}}')]
    with pytest.raises(UnexpectedAnswerError, match="newest version"):
        await client.viewer()


async def test_retries_are_bounded(open_client: Opener, wire: Wire) -> None:
    """Without a response, the client tries a limited number of times until the deadline, and then raises."""
    wire.answers = [answer(502, "")] * 9
    with pytest.raises(UnexpectedAnswerError):
        await open_client(url=wire.url, tries_max=3).viewer()
    assert len(wire.bodies) == 3
    wire.answers = [answer(503, '{"errors": [{"message": "", "extensions": {"code": "RETRY"}}]}', "Retry-After: 9")]
    with pytest.raises(ApiError, match="RETRY"):
        await open_client(url=wire.url, deadline_seconds=5).viewer()
    wire.behind = "127.0.0.1:1"
    with pytest.raises(NetworkError, match="same idempotency key"):
        await open_client(url=wire.url, tries_max=2).viewer()


async def test_an_expired_token_is_renewed(open_client: Opener, served: Site) -> None:
    """A token's source is called once, and once more when the token has expired, however many calls notice."""
    await served.api.register()
    tokens = [token(expires_in_seconds=-5), token()]
    client = open_client(token=lambda: tokens.pop(0))
    viewers = await asyncio.gather(*(client.viewer() for _ in range(5)))
    assert {viewer.credits for viewer in viewers} == {10}
    assert tokens == []


async def test_a_token_that_cannot_be_renewed(open_client: Opener) -> None:
    """An expired token, given as a value or again by its source, is an ApiError that says so."""
    expired = token(expires_in_seconds=-5)
    for source in (expired, lambda: expired):
        with pytest.raises(ApiError) as raised:
            await open_client(token=source).viewer()
        assert (raised.value.code, raised.value.reason) == ("UNAUTHENTICATED", "EXPIRED")


async def test_a_source_of_expired_tokens_is_called_once_per_try(open_client: Opener) -> None:
    """A source whose every token has expired, as with wrong clocks, is called once per try."""
    asked: list[str] = []

    def source() -> str:
        asked.append(token(f"ann {len(asked)}", expires_in_seconds=-5))
        return asked[-1]

    with pytest.raises(ApiError, match="EXPIRED"):
        await open_client(token=source, tries_max=3, deadline_seconds=20).viewer()
    assert len(asked) == 3


async def test_a_token_may_be_awaited(ann: AsyncClient, served: Site) -> None:
    """The source of an AsyncClient's token may be a coroutine function."""
    await served.api.register()

    async def fetch() -> str:
        await asyncio.sleep(0)
        return token()

    async with AsyncClient(f"http://{served.address}/graphql", fetch) as client:
        assert await client.viewer() == await ann.viewer()


async def test_an_error_has_its_details(open_client: Opener, served: Site) -> None:
    """An ApiError has the code, the reason, the error's id, and all other details."""
    user_id = await served.api.register()
    with pytest.raises(ApiError) as forbidden:
        await open_client().all("users")
    assert (forbidden.value.code, forbidden.value.reason) == ("FORBIDDEN", None)
    assert forbidden.value.error_id
    with pytest.raises(ApiError) as wrong:
        await open_client().create_video_data(title="", video_style="", idempotency_key="key")
    assert [fault["field"] for fault in wrong.value.extensions["fields"]] == ["title", "videoStyle"]
    with pytest.raises(ApiError) as forged:
        await open_client(token="forged").user(id=user_id)
    assert (forged.value.code, forged.value.reason) == ("UNAUTHENTICATED", "MALFORMED")


async def test_every_refusal_has_its_type(open_client: Opener, served: Site, settings: Settings, dsn: str) -> None:
    """Each refusal is a result of its own type, with its details."""
    user_id = await served.api.register(credits=2)
    user, worker, admin = open_client(), open_client("job", Role.WORKER), open_client("root", Role.ADMIN)
    video = (await user.create_video_data(**VIDEO, idempotency_key="first")).video_data
    adjust: dict[str, Any] = {"user_id": user_id, "kind": answered.AdjustmentKind.ADJUSTMENT}
    refusals = [
        await user.create_video_data(title="Other", video_style="realistic", idempotency_key="first"),
        await admin.adjust_user_credits(**adjust, amount=-5, idempotency_key="too much"),
        await admin.adjust_user_credits(**adjust, amount=2_147_483_647, idempotency_key="too rich"),
        await admin.adjust_user_credits(**adjust | {"user_id": UNKNOWN_USER}, amount=1, idempotency_key="nobody"),
        await user.trash_video_data(record_id=UNKNOWN_VIDEO),
        await worker.update_video_record_status(record_id=video.id, attempt=2, render_progress=1),
        await user.update_video_data(record_id=video.id, script="Anew", expected_version=video.version + 1),
        await user.retry_video_data(record_id=video.id, idempotency_key="again"),
    ]
    await admin.adjust_user_credits(**adjust, amount=2_147_483_646, idempotency_key="rich")
    refusals.append(await user.cancel_video_data(record_id=video.id))
    async with site(replace(settings, creations_per_day_max=1), dsn) as bounded:
        client = open_client(url=f"http://{bounded.address}/graphql")
        over_quota = await client.create_video_data(**VIDEO, idempotency_key="second")
    refusals.append(over_quota)
    url = "https://cdn.example/{}.mp4"
    done = await worker.update_video_record_status(record_id=video.id, status="COMPLETED", download_url=url.format(1))
    assert isinstance(done, answered.UpdateVideoRecordStatusSuccess)
    refusals.append(await worker.update_video_record_status(record_id=video.id, download_url=url.format(2)))
    code, message = zip(*((refusal.code, refusal.message) for refusal in refusals), strict=True)
    words = iter([{"code": code[at], "message": message[at]} for at in range(len(code))])
    assert refusals == [
        answered.IdempotencyKeyReused(**next(words), idempotency_key="first"),
        answered.InsufficientCredits(**next(words), balance=1, required=5),
        answered.CreditsOutOfRange(**next(words), balance=1, maximum=2_147_483_647),
        answered.UserNotFound(**next(words)),
        answered.VideoDataNotFound(**next(words)),
        answered.StaleAttempt(**next(words), current_attempt=1),
        answered.VersionConflict(**next(words), expected_version=video.version + 1, current_version=video.version),
        answered.IllegalTransition(**next(words), current_status=video.status, video_data=video),
        answered.OperationRefused(**next(words)),
        answered.QuotaExceeded(
            **next(words),
            quota=answered.Quota.CREATIONS_PER_DAY,
            limit=1,
            used=1,
            resets_at=over_quota.resets_at,
        ),
        answered.ContradictoryReport(**next(words), video_data=done.video_data),
    ]
    assert {type(refusal) for refusal in refusals} == REFUSALS


async def test_an_unknown_refusal(open_client: Opener, wire: Wire) -> None:
    """A refusal without a type in this client is an OperationRefused with its code."""
    refused = {"__typename": "VideoLocked", "code": "VIDEO_LOCKED", "message": "Wait."}
    wire.answers = [answer(200, json.dumps({"data": {"cancelVideoData": refused}}))]
    result = await open_client(url=wire.url).cancel_video_data(record_id=UNKNOWN_VIDEO)
    assert result == answered.OperationRefused(code="VIDEO_LOCKED", message="Wait.")


async def test_content_round_trip(open_client: Opener, served: Site) -> None:
    """A video's content comes back unchanged, JSON as plain values, the rest as objects; null clears a field."""
    await served.api.register()
    user, worker = open_client(), open_client("job", Role.WORKER)
    created = await user.create_video_data(
        **VIDEO,
        caption={"some_style": [{"font_size": 7}]},
        voice=answered.VoiceInput(voice_id="en-7", name="Ada"),
        idempotency_key="key",
    )
    images = [answered.VideoImageInput(image="https://cdn.example/1.png", start=0, duration=2.5)]
    record = {"record_id": created.video_data.id}
    await worker.update_video_data(**record, script="Once.", images=images, caption_json=[{"word_list": [None]}])
    await user.update_video_data(**record, volume=answered.VolumeInput(voice=0.5), script=None)
    video = await user.video_data(id=created.video_data.id)
    assert video.caption == {"some_style": [{"font_size": 7}]}
    assert video.caption_json == [{"word_list": [None]}]
    assert video.voice == answered.Voice(voice_id="en-7", name="Ada")
    assert video.images == (answered.VideoImage(image="https://cdn.example/1.png", start=0, duration=2.5),)
    assert (video.script, video.music_track) == (None, None)
    assert video.volume == answered.Volume(background_music=0.4, voice=0.5)
    assert video.created_at == created.video_data.created_at
    assert video.created_at.utcoffset() is not None
    assert video.user == created.user
    only_trash = answered.VideoFilter(trashed=answered.TrashFilter.ONLY, status=[answered.VideoStatus.QUEUED])
    assert (await user.viewer_videos(filter=only_trash)).nodes == ()
    data = await user.execute("query($id: ID!) { videoData(id: $id) { title } }", {"id": video.id})
    assert data == {"videoData": {"title": "Whales"}}


async def test_every_query_is_answered(open_client: Opener, served: Site) -> None:
    """Each list pages through to the end, in order, with each item once; each lookup finds its object."""
    user_id = await served.api.register(credits=9)
    made = [await served.api.video(f"key {number}", status="RENDER_QUEUED") for number in range(7)]
    admin = open_client("root", Role.ADMIN)
    for page in ("videos", "render_queue"):
        listed = await admin.all(page, first=3)
        assert [video.id for video in listed] == (made if page == "render_queue" else made[::-1])
    assert [video.id for video in await admin.all("user_videos", id=user_id, first=3)] == made[::-1]
    for entries in (
        await admin.all("user_credit_entries", id=user_id, first=4),
        await open_client().all("viewer_credit_entries"),
    ):
        assert [entry.number for entry in entries] == list(range(9, 0, -1))
        assert [entry.video_data and entry.video_data.id for entry in entries] == [*made[::-1], None, None]
    assert [video.id for video in await open_client().all("viewer_videos", first=2)] == made[::-1]
    assert [user.credits for user in await admin.all("users")] == [2]
    assert [entry.kind for entry in await admin.all("video_data_entries", id=made[0])] == ["CHARGE"]
    events = await admin.all("video_data_events", id=made[0], first=1)
    assert [event.status for event in events] == ["RENDER_QUEUED", "QUEUED"]
    assert (await admin.video_data_stats()).in_progress == 7
    assert (await admin.user(id=user_id)) == await open_client().viewer()
    assert (await admin.user(id=UNKNOWN_USER), await admin.video_data(id=UNKNOWN_VIDEO)) == (None, None)
    with pytest.raises(LookupError, match="not there"):
        await admin.all("user_credit_entries", id=UNKNOWN_USER)


async def test_every_mutation_is_answered(open_client: Opener) -> None:
    """Each mutation not tested above does its work, and can be repeated."""
    user = open_client("cid")
    for replayed in (False, True):
        registered = await user.register_user(name="Cid")
        assert (registered.replayed, registered.user.name, registered.entry.number) == (replayed, "Cid", 1)
    video = (await user.create_video_data(**VIDEO, idempotency_key="key")).video_data
    for name in ("trash_video_data", "restore_video_data", "cancel_video_data"):
        call = getattr(user, name)
        assert [(await call(record_id=video.id)).replayed for _ in range(2)] == [False, True]
    for replayed in (False, True):
        retried = await user.retry_video_data(record_id=video.id, idempotency_key="again")
        assert (retried.replayed, retried.video_data.attempt, retried.user.credits) == (replayed, 2, 9)


async def test_no_entry_is_missed_across_a_restart(api: Api, settings: Settings, dsn: str) -> None:
    """A follower of the ledger gets each entry once and in order, across a restart of the server too."""
    user_id = await api.register(credits=5)
    async with (
        asyncio.timeout(60),
        Wire("127.0.0.1:1") as wire,
        AsyncClient(wire.url, token()) as client,
        aclosing(client.credit_entry_added()) as entries,
    ):
        async with site(settings, dsn) as first:
            wire.behind = first.address
            following = asyncio.create_task(anext(entries))
            await followed(wire, following)
            await api.adjust(user_id, 1, "while it is there")
            edges = [await following]
        following = asyncio.create_task(anext(entries))
        for number in range(3):
            await api.adjust(user_id, 1, f"while nobody is {number}")
        async with site(settings, dsn) as second:
            wire.behind = second.address
            await api.adjust(user_id, 1, "while another is")
            edges += [await following, *[await anext(entries) for _ in range(3)]]
            wire.cut()
            await api.adjust(user_id, 1, "after a cut")
            edges.append(await anext(entries))
            async with aclosing(client.credit_entry_added(after=edges[2].cursor)) as since:
                again = [await anext(since) for _ in range(3)]
    assert [edge.node.number for edge in edges] == [3, 4, 5, 6, 7, 8]
    assert again == edges[3:]


async def followed(wire: Wire, following: asyncio.Task[Any]) -> None:
    """Wait until a subscription has been asked for, or could not be."""
    while not (following.done() or any(b"subscription" in body for body in wire.bodies)):  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.001)


async def test_following_an_empty_ledger(settings: Settings, dsn: str) -> None:
    """A follower of an empty ledger gets its first entry, and all later ones."""
    async with (
        site(replace(settings, signup_credits=0), dsn) as served,
        Wire(served.address) as wire,
        AsyncClient(wire.url, token()) as client,
        aclosing(client.credit_entry_added()) as entries,
    ):
        following = asyncio.create_task(anext(entries))
        await followed(wire, following)
        user_id = await served.api.register(credits=3)
        await served.api.create("key")
        wire.cut()
        await served.api.adjust(user_id, 1, "one more")
        async with asyncio.timeout(30):
            numbers = [(await following).node.number, *[(await anext(entries)).node.number for _ in range(2)]]
        assert numbers == [1, 2, 3]


async def test_states_are_followed_across_cuts(served: Site, wire: Wire) -> None:
    """A follower of a state gets it and each later one once, however often the connection is cut."""
    await served.api.register()
    title = "One\u2028two\u0085three\n\n\\n\r\nevent: complete"
    video_id = (await served.api.create("key", title=title))["videoData"]["id"]
    wire.answers = [answer(200, ":\n\n", "Content-Type: text/event-stream")]  # It ends when the server stops.
    async with (
        AsyncClient(wire.url, token()) as client,
        asyncio.timeout(60),
        aclosing(client.video_data_updated(id=video_id)) as videos,
        aclosing(client.viewer_updated()) as viewers,
        aclosing(client.videos_updated(first=1)) as pages,
    ):
        assert (await anext(videos)) == (await anext(pages)).nodes[0]
        update = await anext(viewers)
        assert update.user is not None
        assert update.entry is not None
        assert (update.user.credits, update.entry.balance_after) == (9, 9)
        for percent in (10, 20):
            wire.cut()
            wire.bodies.clear()
            following = asyncio.create_task(anext(videos))
            await followed(wire, following)
            await served.api.balance()  # Until then, the state from before the cut may arrive.
            await served.api.report(video_id, renderProgress=percent)
            video = await following
            assert video is not None
            assert (video.title, video.render_progress) == (title, percent)
        await served.api.report(video_id, status="FAILED")
        update = await anext(viewers)
        assert update.user is not None
        assert update.user.credits == 10
        assert (await client.viewer()) == update.user


async def test_following_renews_its_token_and_raises_final_errors(served: Site, wire: Wire) -> None:
    """A subscription renews its token like calls, ends when the stream completes, and raises final errors."""
    await served.api.register()
    tokens = [token(expires_in_seconds=2), token()]
    async with AsyncClient(wire.url, lambda: tokens.pop(0)) as client, asyncio.timeout(30):
        async with aclosing(client.viewer_updated()) as updates:
            await anext(updates)
            changed = asyncio.create_task(anext(updates))
            while tokens:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
            await served.api.create("key")
            update = await changed
            assert update.user is not None
            assert update.user.credits == 9
        assert [state async for state in client.video_data_updated(id=UNKNOWN_VIDEO)] == [None]
        with pytest.raises(ApiError, match="cursor"):
            await anext(client.credit_entry_added(after="nonsense"))
    wire.answers = [answer(502, "<h1>Bad gateway</h1>")]
    async with AsyncClient(wire.url, "forged") as client:
        with pytest.raises(ApiError, match="MALFORMED"):
            await anext(client.viewer_updated())
    wire.behind = "127.0.0.1:1"
    async with AsyncClient(wire.url, token(), deadline_seconds=0.5) as client:
        with pytest.raises(NetworkError):
            await anext(client.viewer_updated())


def block(number: int) -> str:
    """Return an example of the client's README."""
    blocks = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return str(blocks[number])


def example(number: int) -> dict[str, Any]:
    """Run an example of the client's README, and return the names that it defines."""
    names: dict[str, Any] = {}
    exec(compile(block(number), f"README.md, example {number}", "exec"), names)
    return names


async def test_the_readmes_worker(served: Site) -> None:
    """The README's worker renders queued videos, reports failures, and stops when the user cancels."""
    await served.api.register(credits=3)
    done, failing, canceled = [await served.api.video(name, status="RENDER_QUEUED") for name in "abc"]
    loop = asyncio.get_running_loop()

    def start_render(video: answered.VideoDataDetails) -> tuple[str, Iterator[int]]:
        def percents() -> Iterator[int]:
            yield 50
            if video.id == failing:
                raise OSError("No memory.")
            if video.id == canceled:
                asyncio.run_coroutine_threadsafe(served.api.cancel(video.id), loop).result()
            yield 99

        return f"render-of-{video.attempt}", percents()

    with Client(f"http://{served.address}/graphql", token("render-1", Role.WORKER)) as client:
        await asyncio.to_thread(example(0)["work"], client, start_render)
        videos = [await asyncio.to_thread(client.video_data, id=each) for each in (done, failing, canceled)]
    assert [video and (video.status, video.render_progress) for video in videos] == [
        ("COMPLETED", 100),
        ("FAILED", 50),
        ("CANCELED", 50),
    ]
    assert [video and video.comments for video in videos][1] == "No memory."
    assert videos[0] is not None
    assert (videos[0].render_id, videos[0].download_url) == ("render-of-1", "https://cdn.example.com/render-of-1.mp4")
    assert await served.api.balance() == 2


async def test_the_readmes_webhook(served: Site) -> None:
    """The README's webhook books a payment once, delivered five times concurrently, and refuses invalid ones."""
    user_id = await served.api.register()
    paid = example(1)["paid"]
    async with AsyncClient(f"http://{served.address}/graphql", token("stripe", Role.ADMIN)) as client:
        delivered = await asyncio.gather(*(paid(client, "pi_1", user_id, 50, "4.99 USD by card") for _ in range(5)))
        assert delivered == [200] * 5
        assert await served.api.balance() == 60
        assert await paid(client, "pi_1", user_id, 51, "4.99 USD by card") == 409
        assert await paid(client, "pi_2", UNKNOWN_USER, 50, "4.99 USD by card") == 404
        assert await paid(client, "pi_3", user_id, 2_147_483_647, "4.99 USD by card") == 422
    assert await served.api.balance() == 60


async def test_the_readmes_script(
    served: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The README's script prints a line for each user."""
    for subject in ("ann", "bob"):
        await served.api.mutate("registerUser", subject=subject, name=subject.title())
    await served.api.create("key")
    monkeypatch.setenv("API_URL", f"http://{served.address}/graphql")
    monkeypatch.setenv("API_TOKEN", token("root", Role.ADMIN))
    await asyncio.to_thread(example, 2)
    assert capsys.readouterr().out == ("Bob: 10 credits, 0 spent, 1 entries\nAnn: 9 credits, 1 spent, 2 entries\n")


async def test_the_readmes_books(served: Site, ann: AsyncClient) -> None:
    """The README's books contain each entry after the cursor."""
    user_id = await served.api.register()
    page = await ann.viewer_credit_entries(first=1)
    assert page is not None
    for amount in (1, 2, 3):
        await served.api.adjust(user_id, amount, f"key {amount}")
    booked: list[int] = []

    def book(entry: answered.CreditEntryEdge) -> bool:
        booked.append(entry.node.amount)
        return len(booked) < 3

    async with asyncio.timeout(30):
        await example(3)["keep_books"](ann, page.page_info.start_cursor, book)
    assert booked == [1, 2, 3]


def checked(directory: Path, source: Path) -> str:
    """Run mypy on the README's examples as a user's code, against a package, and return its output."""
    for number in range(4):
        (directory / f"example_{number}.py").write_text(block(number), encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(CACHE)]
    command += [str(directory / f"example_{number}.py") for number in range(4)]
    environment = {**os.environ, "MYPYPATH": str(source)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def test_mypy_finds_unhandled_refusals(tmp_path: Path) -> None:
    """The README's examples are fully typed, and mypy finds where a new refusal is not matched."""
    assert checked(tmp_path, PACKAGE / "src").startswith("Success")
    schema = SCHEMA.read_text(encoding="utf-8")
    members = "AdjustUserCreditsSuccess | IdempotencyKeyReused"
    assert members in schema
    grown = tmp_path / "schema.graphql"
    grown.write_text(schema.replace(members, f"{members} | VideoDataNotFound"), encoding="utf-8")
    shutil.copytree(PACKAGE / "src", tmp_path / "src")
    generated(grown, tmp_path)
    output = checked(tmp_path, tmp_path / "src")
    assert 'Argument 1 to "assert_never" has incompatible type "VideoDataNotFound"' in output


async def test_a_server_of_trusted_documents(settings: Settings, dsn: str) -> None:
    """A server that accepts only persisted-documents.json answers the client."""
    trusted = json.loads((PACKAGE / "persisted-documents.json").read_text(encoding="utf-8"))
    sent = [each.document for each in vars(operations).values() if isinstance(each, Operation)]
    assert sorted(sent) == sorted(trusted.values())
    trusting = replace(settings, documents_file=PACKAGE / "persisted-documents.json", trusted_documents_only="on")
    async with site(trusting, dsn) as served, AsyncClient(f"http://{served.address}/graphql", token()) as client:
        assert isinstance(await client.register_user(), answered.RegisterUserSuccess)
        assert await client.viewer()
        with pytest.raises(ApiError, match="FORBIDDEN"):
            await client.execute("{ viewer { id } }")


def test_the_wheel_holds_the_package_and_its_types(tmp_path: Path) -> None:
    """The wheel, built without the network, contains all modules and the marker that they are typed."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=PACKAGE, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("videocredits_client-*-py3-none-any.whl")
    modules = [path.name for path in (PACKAGE / "src" / "videocredits_client").iterdir() if path.is_file()]
    assert "py.typed" in modules
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == {f"videocredits_client/{name}" for name in modules}


def generated(schema: Path, out: Path) -> None:
    command = [sys.executable, str(PACKAGE / "generate.py"), str(schema), str(PACKAGE / "operations.graphql"), str(out)]
    subprocess.run(command, check=True)


def test_generated_files_are_current(tmp_path: Path) -> None:
    """The generated files match schema.graphql and operations.graphql: run `make schema` when this fails."""
    generated(SCHEMA, tmp_path)
    made = [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()]
    assert len(made) == 3
    for path in made:
        assert (PACKAGE / path).read_text(encoding="utf-8") == (tmp_path / path).read_text(encoding="utf-8"), path
