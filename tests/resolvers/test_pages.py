"""Pagination over HTTP: what a page holds, and which arguments are refused."""

from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from resolvers.identity import Role
from schema.node import EntryKey, EventKey, UserKey, VideoKey, decode_id, encode_id
from tests.api import Api

VARIABLES = "$first: Int, $after: String, $last: Int, $before: String"
ARGUMENTS = "first: $first, after: $after, last: $last, before: $before"
PAGE = "{ edges { cursor node { id } } nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } }"

# Each list, and the type whose field it is; None for a root field.
LISTS = {
    "users": None,
    "videos": None,
    "renderQueue": None,
    "User.videos": "User",
    "User.creditEntries": "User",
    "VideoData.entries": "VideoData",
    "VideoData.events": "VideoData",
}


class Scene(NamedTuple):
    """Filled lists: the ids in each, in order, and the objects that nested lists belong to."""

    api: Api
    items: dict[str, list[str]]
    parents: dict[str, str]

    async def page(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Request a page of a list as an administrator; an error fails the test."""
        body = await self.response(name, **arguments)
        assert "errors" not in body, body["errors"]
        page: dict[str, Any] = (body["data"].get("node") or body["data"])["list"]
        assert page["nodes"] == [edge["node"] for edge in page["edges"]]
        cursors = [edge["cursor"] for edge in page["edges"]]
        ends = (page["pageInfo"]["startCursor"], page["pageInfo"]["endCursor"])
        assert ends == ((cursors[0], cursors[-1]) if cursors else (None, None))
        return page

    async def response(self, name: str, **arguments: Any) -> dict[str, Any]:
        """Request a page of a list as an administrator, and return the whole response."""
        parent, field = LISTS[name], name.rpartition(".")[2]
        asked = f"list: {field}({ARGUMENTS}) {PAGE}"
        if parent is not None:
            asked = f'node(id: "{self.parents[parent]}") {{ ... on {parent} {{ {asked} }} }}'
        return await self.api.post(f"query({VARIABLES}) {{ {asked} }}", arguments, subject="root", role=Role.ADMIN)

    async def refusal(self, name: str, **arguments: Any) -> str:
        """Request a page that must be refused as bad input, and return the message."""
        (error,) = (await self.response(name, **arguments))["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        message: str = error["message"]
        return message


@pytest.fixture
async def scene(api: Api) -> Scene:
    """Fill the lists, each together with items that it must not show."""
    users = [await api.register(f"user {number}", credits=10) for number in range(4)]
    ann = await api.register("ann", credits=10)
    tried = await api.video("tried", subject="user 0")
    videos = [await api.video(str(number)) for number in range(5)]
    for number in range(2):
        await api.report(tried, status="FAILED", attempt=number + 1)
        await api.retry(tried, str(number), subject="user 0")
    queue = [videos[3], videos[0], tried, videos[4]]
    for video_id in queue:
        await api.report(video_id, status="RENDER_QUEUED", attempt=3 if video_id == tried else 1)
    await api.create("other", subject="user 0")
    other = (await api.query("{ viewer { videos(first: 1) { nodes { id } } } }", subject="user 0"))["viewer"]
    key, tried_key = decode_id(ann), decode_id(tried)
    assert isinstance(key, UserKey)
    assert isinstance(tried_key, VideoKey)
    items = {
        "users": [ann, *users[::-1]],
        "videos": [other["videos"]["nodes"][0]["id"], *videos[::-1], tried],
        "renderQueue": queue,
        "User.videos": videos[::-1],
        "User.creditEntries": [encode_id(EntryKey(key.user_id, number)) for number in range(6, 0, -1)],
        "VideoData.entries": [encode_id(EntryKey(tried_key.wallet_id, number)) for number in range(6, 1, -1)],
        "VideoData.events": [encode_id(EventKey(*tried_key, number)) for number in range(6, 0, -1)],
    }
    return Scene(api, items, {"User": ann, "VideoData": tried})


def shown(page: dict[str, Any]) -> list[str]:
    return [node["id"] for node in page["nodes"]]


@pytest.mark.parametrize("name", LISTS)
async def test_walking_a_list_from_either_end(scene: Scene, name: str) -> None:
    """Pages of any size, from either end, show each item once, in order, and state correctly whether more follow."""
    items = scene.items[name]
    assert shown(await scene.page(name)) == items
    for size in (1, 2, len(items) - 1, len(items), len(items) + 1):
        start, cursor = 0, None
        while start < len(items) or start == 0:
            page = await scene.page(name, first=size, after=cursor)
            assert shown(page) == items[start : start + size]
            info = page["pageInfo"]
            assert info["hasNextPage"] is (start + size < len(items))
            assert info["hasPreviousPage"] is (start > 0)
            start, cursor = start + size, info["endCursor"]
        end, cursor = len(items), None
        while end > 0:
            page = await scene.page(name, last=size, before=cursor)
            assert shown(page) == items[max(0, end - size) : end]
            info = page["pageInfo"]
            assert info["hasPreviousPage"] is (end > size)
            assert info["hasNextPage"] is (end < len(items))
            end, cursor = end - size, info["startCursor"]


@pytest.mark.parametrize("name", LISTS)
async def test_between_two_cursors(scene: Scene, name: str) -> None:
    """With `after` and `before`, a page shows the items between them, from either end; none if they cross."""
    items = scene.items[name]
    cursors = [edge["cursor"] for edge in (await scene.page(name))["edges"]]
    bounds = {"after": cursors[0], "before": cursors[-1]}
    assert shown(await scene.page(name, **bounds)) == items[1:-1]
    first = await scene.page(name, first=1, **bounds)
    assert (shown(first), first["pageInfo"]["hasNextPage"]) == (items[1:2], len(items) > 3)
    last = await scene.page(name, last=1, **bounds)
    assert (shown(last), last["pageInfo"]["hasPreviousPage"]) == (items[-2:-1], len(items) > 3)
    crossed = await scene.page(name, after=cursors[-1], before=cursors[0])
    assert crossed == {
        "edges": [],
        "nodes": [],
        "pageInfo": {"hasNextPage": False, "hasPreviousPage": True, "startCursor": None, "endCursor": None},
    }


async def _another_user(scene: Scene, key: str) -> None:
    await scene.api.register(f"another {key}")


async def _another_video(scene: Scene, key: str) -> None:
    await scene.api.create(key)


async def _another_in_the_queue(scene: Scene, key: str) -> None:
    await scene.api.video(key, status="RENDER_QUEUED")


async def _another_attempt(scene: Scene, key: str) -> None:
    await scene.api.report(scene.parents["VideoData"], status="FAILED")
    await scene.api.retry(scene.parents["VideoData"], key, subject="user 0")


ANOTHER: dict[str, Callable[[Scene, str], Awaitable[None]]] = {
    "users": _another_user,
    "videos": _another_video,
    "renderQueue": _another_in_the_queue,
    "User.videos": _another_video,
    "User.creditEntries": _another_video,
    "VideoData.entries": _another_attempt,
    "VideoData.events": _another_attempt,
}


@pytest.mark.parametrize("name", LISTS)
async def test_a_growing_list_is_walked_once(scene: Scene, name: str) -> None:
    """While items are added, paging shows each existing item once, and new ones in their positions."""
    seen, cursor, more = [], None, True
    while more:
        page = await scene.page(name, first=2, after=cursor)
        seen += shown(page)
        if len(seen) <= len(scene.items[name]):
            await ANOTHER[name](scene, f"another {len(seen)}")
        more, cursor = page["pageInfo"]["hasNextPage"], page["pageInfo"]["endCursor"] or cursor
    assert seen[: len(scene.items[name])] == scene.items[name]
    assert len(set(seen)) == len(seen)
    assert (len(seen) > len(scene.items[name])) is (name == "renderQueue")  # The only list that grows at its end.


@pytest.mark.parametrize("name", LISTS)
async def test_the_size_of_a_page(scene: Scene, name: str) -> None:
    """A page has 0 to 100 items; any other size is refused, and so is `first` with `last`."""
    assert shown(await scene.page(name, first=100)) == shown(await scene.page(name, last=100)) == scene.items[name]
    nothing = (await scene.page(name, first=0))["pageInfo"]
    assert (nothing["hasNextPage"], nothing["hasPreviousPage"]) == (True, False)
    nothing = (await scene.page(name, last=0))["pageInfo"]
    assert (nothing["hasNextPage"], nothing["hasPreviousPage"]) == (False, True)
    for argument in ("first", "last"):
        for size in (-1, 101, 2_147_483_647, -2_147_483_648):
            assert f"`{argument}`" in await scene.refusal(name, **{argument: size})
        assert argument in await scene.refusal(name, **{argument: 2**40})
    assert "`first` or `last`" in await scene.refusal(name, first=1, last=1)


async def test_twenty_by_default(api: Api) -> None:
    """Without `first` and `last` a page has 20 items, before a cursor too."""
    user_id = await api.register(credits=0)
    for number in range(25):
        await api.adjust(user_id, 1, str(number))
    document = (
        "query($before: String) { viewer { creditEntries(before: $before) { edges { cursor node { number } } } } }"
    )
    edges = (await api.query(document))["viewer"]["creditEntries"]["edges"]
    newest = edges[0]["node"]["number"]
    assert [edge["node"]["number"] for edge in edges] == list(range(newest, newest - 20, -1))
    edges = (await api.query(document, before=edges[10]["cursor"]))["viewer"]["creditEntries"]["edges"]
    assert [edge["node"]["number"] for edge in edges] == list(range(newest, newest - 10, -1))


def encoded(*packed: bytes) -> list[str]:
    return [urlsafe_b64encode(each).rstrip(b"=").decode() for each in packed]


NONSENSE = [
    *("", "x", "1", "null", "AAAA", "=" * 12, "💥", "\ud83d", "\0", "é" * 11, "A" * 5_000, "-1", " ", "\n"),
    *encoded(bytes(8), bytes(16), bytes(24), 8 * b"\xff", 16 * b"\xff", 24 * b"\xff", (2**31).to_bytes(8, "big")),
    *encoded(*(tag + 8 * b"\xff" for tag in (b"u", b"e", b"h", b"q")), *(tag + 16 * b"\xff" for tag in (b"e", b"h"))),
]


@pytest.mark.parametrize("name", LISTS)
async def test_an_invalid_cursor_is_refused(scene: Scene, name: str) -> None:
    """Text that is not a cursor of this list is refused with the argument's name, whatever it decodes to."""
    edges = (await scene.page(name))["edges"]
    cursor = edges[0]["cursor"]
    spellings = [cursor + "=", cursor + "A", cursor[:-1], cursor + "\n", " " + cursor, cursor.swapcase(), cursor * 2]
    for text in [*NONSENSE, *spellings, edges[0]["node"]["id"]]:
        for argument in ("after", "before"):
            assert f"`{argument}` is not a cursor" in await scene.refusal(name, **{argument: text}), text


@pytest.mark.parametrize("name", LISTS)
async def test_a_cursor_of_another_list_is_refused(scene: Scene, name: str) -> None:
    """A cursor is valid for every list of its kind, a user's or all users', and for no other kind."""
    kinds = {"User.videos": "videos", "User.creditEntries": "VideoData.entries"}
    for other in LISTS:
        cursor = (await scene.page(other))["edges"][1]["cursor"]
        if kinds.get(other, other) != kinds.get(name, name):
            assert "`after` is not a cursor of this list." in await scene.refusal(name, after=cursor), other
        else:
            await scene.page(name, after=cursor)


VIDEOS = "query($filter: VideoFilter) { videos(filter: $filter) { nodes { title } } }"
OWN_VIDEOS = "query($filter: VideoFilter) { viewer { videos(filter: $filter) { nodes { title } } } }"


async def test_filtered_videos(api: Api) -> None:
    """Status and trash filter a user's videos and all users' videos. Without a filter, trashed ones are excluded."""
    await api.register("ann", credits=20)
    await api.register("bob", credits=20)
    for subject in ("ann", "bob"):
        for status in ("QUEUED", "RENDERING", "COMPLETED", "FAILED"):
            for trashed in (False, True):
                title = f"{status} trashed" if trashed else status
                video = (await api.create(title, subject=subject, title=title))["videoData"]["id"]
                await api.report(video, status=status)
                if trashed:
                    await api.mutate("trashVideoData", subject=subject, recordId=video)
    every = [
        f"{status}{trashed}"
        for status in ("FAILED", "COMPLETED", "RENDERING", "QUEUED")
        for trashed in (" trashed", "")
    ]
    present = [title for title in every if "trashed" not in title]
    filters: list[tuple[Any, list[str]]] = [
        (None, present),
        ({}, present),
        ({"status": None}, present),
        ({"trashed": "EXCLUDE"}, present),
        ({"trashed": "ONLY"}, [title for title in every if "trashed" in title]),
        ({"trashed": "INCLUDE"}, every),
        ({"status": []}, []),
        ({"status": ["FAILED"]}, ["FAILED"]),
        ({"status": ["QUEUED", "FAILED", "QUEUED"]}, ["FAILED", "QUEUED"]),
        ({"status": ["RENDERING"], "trashed": "ONLY"}, ["RENDERING trashed"]),
        ({"status": ["COMPLETED"], "trashed": "INCLUDE"}, ["COMPLETED trashed", "COMPLETED"]),
        ({"status": ["CANCELED"]}, []),
    ]
    for filter_, titles in filters:
        own = await api.query(OWN_VIDEOS, filter=filter_)
        assert [video["title"] for video in own["viewer"]["videos"]["nodes"]] == titles
        everybodys = await api.query(VIDEOS, subject="root", role=Role.ADMIN, filter=filter_)
        assert [video["title"] for video in everybodys["videos"]["nodes"]] == titles * 2


async def test_walking_a_filtered_list(api: Api) -> None:
    """A filter holds across pages: each page is full, and states correctly whether more items match."""
    await api.register(credits=20)
    for number in range(9):
        await api.video(str(number), status="FAILED" if number % 3 else "READY")
    document = """query($after: String) { viewer { videos(first: 2, after: $after, filter: {status: [FAILED]}) {
      nodes { status } pageInfo { hasNextPage endCursor }
    } } }"""
    cursor = None
    for more in (True, True, False):
        page = (await api.query(document, after=cursor))["viewer"]["videos"]
        assert page["nodes"] == [{"status": "FAILED"}] * 2
        assert page["pageInfo"]["hasNextPage"] is more
        cursor = page["pageInfo"]["endCursor"]


async def test_the_stats_count_every_video(api: Api) -> None:
    """The stats count every video by how it ended, trashed ones included."""
    await api.register(credits=20)
    document = "{ videoDataStats { total completed inProgress failed canceled trashed } }"
    empty = await api.query(document, subject="root", role=Role.ADMIN)
    assert set(empty["videoDataStats"].values()) == {0}
    for number, status in enumerate(["READY", "RENDERING", "COMPLETED", "FAILED", "FAILED", "FAILED", "CANCELED"]):
        video_id = await api.video(str(number), status=status)
        if number % 2:
            await api.mutate("trashVideoData", recordId=video_id)
    counted = await api.query(document, subject="root", role=Role.ADMIN)
    assert counted["videoDataStats"] == {
        "total": 7,
        "completed": 1,
        "inProgress": 2,
        "failed": 3,
        "canceled": 1,
        "trashed": 3,
    }
