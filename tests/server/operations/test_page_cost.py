"""The cost of reading: how many statements a document runs, and which columns they read."""

import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest

import db.video_data
from db.database import Database
from db.mutation import Mutation
from db.video_data import CONTENT_COLUMNS, VideoContentRow, VideoDataRow
from resolvers.connection import NEWEST_ENTRY_FIRST, window
from resolvers.identity import Role
from resolvers.loaders import ContentBudget, ContentLoader, Loaders
from schema.connection import Page
from schema.node import VideoKey, decode_id
from server.operations.document_limits import LIMITS
from tests.api import Api
from tests.db.test_statements import ORDERS

NAMES = {text: name for name, texts in ORDERS.items() for text in texts}
LARGE = list(CONTENT_COLUMNS)
Ran = list[tuple[str, tuple[Any, ...]]]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Record each statement that runs, with its name and arguments."""
    noted: Ran = []

    def noting(run: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def note_and_run(database: Database, query: str | Mutation, *arguments: object) -> Any:
            noted.append((query.name if isinstance(query, Mutation) else NAMES[query], arguments))
            return await run(database, query, *arguments)

        return note_and_run

    monkeypatch.setattr(Database, "rows", noting(Database.rows))
    monkeypatch.setattr(Database, "answer", noting(Database.answer))
    return noted


async def test_a_page_costs_the_same_whatever_its_size(api: Api, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page with nested lists runs at most one statement per field, with 1 item or 100."""
    monkeypatch.setitem(LIMITS, "cost", LIMITS["cost"]._replace(maximum=10_000_000))
    for user in range(4):
        await api.register(f"user {user}", credits=10)
        for number in range(3):
            video_id = await api.video(f"{number}", subject=f"user {user}")
            await api.report(video_id, status="RENDER_QUEUED")
    document = """query($size: Int!) { users(first: $size) { nodes {
      videos(first: $size) { nodes {
        queuePosition script captionJson
        user { name }
        events(first: $size) { nodes { number } }
        entries(first: $size) { nodes { user { name } videoData { title } } }
      } }
      running: videos(last: 1, filter: {status: [RENDERING]}) { nodes { title } }
      creditEntries(first: $size) { nodes { user { name } videoData { title user { name } } } }
    } } }"""
    asking = Counter(
        list_users=1,
        list_videos=2,
        list_video_events=1,
        list_credit_entries_of_video=1,
        list_credit_entries=1,
        get_queue_positions=1,
        get_video_content=1,
        get_users=4,
        get_video_data=2,
    )
    for size in (1, 4, 100):
        ran.clear()
        data = await api.query(document, subject="root", role=Role.ADMIN, size=size)
        assert len(data["users"]["nodes"]) == min(size, 4)
        assert len(data["users"]["nodes"][0]["videos"]["nodes"]) == min(size, 3)
        run = Counter(name for name, _ in ran)
        assert run.keys() == asking.keys()
        assert run <= asking


async def test_objects_by_id_cost_the_same_however_many(api: Api, ran: Ran) -> None:
    """Objects requested by id, singly or together, take one statement per type."""
    ids = []
    for user in range(3):
        ids.append(await api.register(f"user {user}"))
        created = await api.create("key", subject=f"user {user}")
        ids += [created["videoData"]["id"], created["entry"]["id"]]
    fields = "\n".join(f'a{number}: node(id: "{each}") {{ id }}' for number, each in enumerate(ids))
    ran.clear()
    await api.query(f"{{ {fields} }}", subject="root", role=Role.ADMIN)
    assert Counter(name for name, _ in ran) == Counter(get_users=1, get_video_data=1, get_credit_entries=1)
    ran.clear()
    document = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    nodes = (await api.query(document, subject="root", role=Role.ADMIN, ids=ids * 5))["nodes"]
    assert [node["id"] for node in nodes] == ids * 5
    assert Counter(name for name, _ in ran) == Counter(get_users=1, get_video_data=1, get_credit_entries=1)


async def test_large_columns_are_read_only_when_selected(api: Api, ran: Ran) -> None:
    """Lists, lookups and mutations read no large column; a query that selects some reads them in one statement."""
    assert not set(LARGE) & set(VideoDataRow._fields)
    await api.register()
    video_id = await api.video(status="RENDERING")
    await api.cancel(video_id)
    await api.retry(video_id, "again")
    fragment = "fragment all on VideoData { title comments status user { id } events { nodes { id } } }"
    await api.query(f"query($id: ID!) {{ videoData(id: $id) {{ ...all }} }} {fragment}", id=video_id)
    await api.query(f"{{ viewer {{ videos {{ nodes {{ ...all }} }} }} }} {fragment}")
    assert "get_video_content" not in {name for name, _ in ran}
    for selection, columns in (
        ("script", ["script"]),
        ("captionJson config", ["caption_json", "config"]),
        ("script caption captionJson config images { image }", LARGE),
    ):
        ran.clear()
        await api.query(f"{{ viewer {{ videos {{ nodes {{ {selection} }} }} }} }}")
        ((_, _, asked, _),) = [arguments for name, arguments in ran if name == "get_video_content"]
        assert sorted(asked) == sorted(columns)


async def test_a_large_column_that_is_not_wanted_is_not_sent(api: Api, database: Database) -> None:
    """PostgreSQL sends the selected large columns, and null for the others."""
    await api.register()
    video_id = await api.video()
    stored: dict[str, Any] = {"script": "Once.", "captionJson": [1], "config": {"a": 1}, "images": []}
    await api.mutate("updateVideoData", recordId=video_id, **stored)
    key = decode_id(video_id)
    assert isinstance(key, VideoKey)
    found = (await db.video_data.get_video_content(database, [key], ["config"], 8))[key]
    assert found == VideoContentRow(*key, None, None, None, None, '{"a": 1}', sizes=[0, 0, 0, 0, 8], total_bytes=8)


async def test_each_mutation_of_a_document_sees_the_newest_state(api: Api) -> None:
    """Each mutation of a document shows the changes of those before it, in nested lists and objects too."""
    await api.register(credits=10)
    document = """
    fragment state on User { credits videos { nodes { status user { credits } events { nodes { number } } } }
                             creditEntries { nodes { number } } }
    mutation {
      one: createVideoData(input: {title: "1", videoStyle: "s", idempotencyKey: "1"}) {
        ...on CreateVideoDataSuccess { videoData { user { ...state } } }
      }
      two: createVideoData(input: {title: "2", videoStyle: "s", idempotencyKey: "2"}) {
        ...on CreateVideoDataSuccess { videoData { user { ...state } } }
      }
      three: createVideoData(input: {title: "2", videoStyle: "s", idempotencyKey: "2"}) {
        ...on CreateVideoDataSuccess { user { ...state } }
      }
    }"""
    data = await api.query(document)
    states = [data["one"]["videoData"]["user"], data["two"]["videoData"]["user"], data["three"]["user"]]
    for state, videos in zip(states, (1, 2, 2), strict=True):
        assert state["credits"] == 10 - videos
        assert [video["user"]["credits"] for video in state["videos"]["nodes"]] == [10 - videos] * videos
        assert len(state["creditEntries"]["nodes"]) == 1 + videos


async def test_a_retried_video_shows_its_new_events(api: Api) -> None:
    """A cancelation and a retry in one document each show the history so far."""
    await api.register()
    video_id = await api.video()
    document = """mutation($id: ID!) {
      cancel: cancelVideoData(input: {recordId: $id}) {
        ...on CancelVideoDataSuccess { videoData { events { nodes { status } } entries { nodes { kind } } } }
      }
      retry: retryVideoData(input: {recordId: $id, idempotencyKey: "again"}) {
        ...on RetryVideoDataSuccess { videoData { events { nodes { status } } entries { nodes { kind } } } }
      }
    }"""
    data = await api.query(document, id=video_id)
    history = [event["status"] for event in data["cancel"]["videoData"]["events"]["nodes"]]
    assert history == ["CANCELED", "QUEUED"]
    assert [entry["kind"] for entry in data["cancel"]["videoData"]["entries"]["nodes"]] == ["REFUND", "CHARGE"]
    assert [event["status"] for event in data["retry"]["videoData"]["events"]["nodes"]] == ["QUEUED", *history]
    assert len(data["retry"]["videoData"]["entries"]["nodes"]) == 3


async def test_loaders_are_freed_without_the_garbage_collector(database: Database) -> None:
    """Loaders are in no reference cycle: their rows are freed with them, without the garbage collector."""
    loaders = Loaders(database)
    content = ContentLoader(database, ContentBudget(100))
    assert await loaders.user(UUID(int=0)) is None
    assert await loaders.credit_entries(UUID(int=0), window(Page(None, None, None, None), NEWEST_ENTRY_FIRST)) == []
    assert await content.load((UUID(int=0), UUID(int=0)), "script") is None
    references = weakref.ref(loaders), weakref.ref(content)
    del loaders, content
    assert [reference() for reference in references] == [None, None]
