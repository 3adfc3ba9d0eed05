"""Responses are limited in size: large columns are measured before they are read, and nothing larger is sent."""

from contextlib import aclosing
from dataclasses import replace
from typing import Any

import orjson
import pytest

import db.video_data
from db.database import Database
from db.video_data import get_video_content
from resolvers.loaders import ContentBudget, ContentLoader
from schema.error import RequestError
from schema.node import VideoKey, decode_id
from server.operations.document_limits import LIMITS
from server.process.settings import Settings
from server.wire.answer import encode_utf8
from tests.api import Api, serving

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

BYTES_MAX = 20_000
LARGE = {"text": "a" * 5_000}  # It compresses to nearly nothing, so its size in the table says little.
DOCUMENT = "{ viewer { videos(first: 100) { nodes { captionJson } } } }"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, response_bytes_max=BYTES_MAX)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the bytes of large columns that each statement reads."""
    noted: list[int] = []

    async def note(database: Database, keys: Any, columns: Any, bytes_max: int) -> Any:
        found = await get_video_content(database, keys, columns, bytes_max)
        noted.append(sum(len(row.caption_json or "") for row in found.values()))
        return found

    monkeypatch.setattr(db.video_data, "get_video_content", note)
    return noted


async def with_videos(api: Api, count: int) -> list[str]:
    await api.register(credits=100)
    videos = [await api.video(str(number)) for number in range(count)]
    for video in videos:
        await api.mutate("updateVideoData", recordId=video, captionJson=LARGE)
    return videos


def refused(body: dict[str, Any]) -> bool:
    """Return whether a response says only that it would be too large."""
    if "errors" not in body:
        return False
    (error,) = body["errors"]
    assert body.get("data") is None
    assert error["extensions"]["code"] == "LIMIT_EXCEEDED"
    assert (error["extensions"]["limit"], error["extensions"]["maximum"]) == ("responseBytes", BYTES_MAX)
    return True


async def test_too_large_columns_are_not_read(api: Api, read: list[int]) -> None:
    """If the large columns of some videos do not fit into a response, none is read, and there is one typed error."""
    await with_videos(api, 3)
    assert not refused(await api.post(DOCUMENT, subject="ann"))
    assert read.pop() > 3 * 5_000
    for number in range(3, 6):
        video = await api.video(str(number))
        await api.mutate("updateVideoData", recordId=video, captionJson=LARGE)
    assert refused(await api.post(DOCUMENT, subject="ann"))
    assert read == [0]


async def test_each_alias_counts(api: Api, read: list[int]) -> None:
    """A large column counts once per alias, although it is read once."""
    await with_videos(api, 1)
    for names, too_large in ((3, False), (4, True)):
        fields = " ".join(f"a{number}: captionJson" for number in range(names))
        assert (
            refused(await api.post(f"{{ viewer {{ videos {{ nodes {{ {fields} }} }} }} }}", subject="ann")) is too_large
        )
    assert len(read) == 2


async def test_mutations_of_a_document_share_the_limit(api: Api, read: list[int]) -> None:
    """Mutations of one document share the limit, and all have happened when it is reached."""
    videos = await with_videos(api, 1)
    fields = "... on UpdateVideoDataSuccess { videoData { captionJson } }"
    for count, too_large in ((3, False), (4, True)):
        parts = " ".join(
            f'a{number}: updateVideoData(input: {{recordId: "{videos[0]}", script: "{count}"}}) {{ {fields} }}'
            for number in range(count)
        )
        assert refused(await api.post(f"mutation {{ {parts} }}", subject="ann")) is too_large
        data = await api.query("query($id: ID!) { videoData(id: $id) { script } }", id=videos[0])
        assert data["videoData"]["script"] == str(count)
    assert read[-1] == 0


async def test_small_fields_can_be_too_large_together(api: Api) -> None:
    """A response that is too large without any large column is not sent either."""
    await api.register(credits=100)
    for number in range(5):
        await api.create(str(number), topic="t" * 1_500)
    for names, too_large in ((2, False), (3, True)):
        fields = " ".join(f"a{number}: topic" for number in range(names))
        assert (
            refused(await api.post(f"{{ viewer {{ videos {{ nodes {{ {fields} }} }} }} }}", subject="ann")) is too_large
        )


async def test_the_limit_applies_to_each_event(api: Api) -> None:
    """The limit applies to each event of a subscription: one beyond it is an error, and later events follow."""
    (video,) = await with_videos(api, 1)
    fields = "version a: captionJson b: captionJson c: captionJson"
    document = f"subscription($id: ID!) {{ videoDataUpdated(id: $id) {{ {fields} }} }}"
    async with aclosing(api.follow(document, {"id": video})) as events:
        for size, too_large in ((5_000, False), (5_001, False), (9_000, True), (5_002, False)):
            await api.mutate("updateVideoData", recordId=video, captionJson={"text": "a" * size})
            event = await anext(events)
            while "errors" not in event and len(event["data"]["videoDataUpdated"]["a"]["text"]) != size:
                event = await anext(events)
            assert refused(event) is too_large, size


async def test_large_fields_count_in_the_cost(api: Api) -> None:
    """All large columns of a hundred videos exceed an operation's limit on cost."""
    document = "{ viewer { videos(first: 100) { nodes { captionJson config caption script } } } }"
    (error,) = (await api.post(document, subject="ann"))["errors"]
    assert error["extensions"]["limit"] == "cost"
    assert error["extensions"]["value"] > 2 * LIMITS["cost"].maximum


async def test_the_default_lets_pages_through(dsn: str, settings: Settings) -> None:
    """By default a page of a hundred videos with captions of 50 KB fits."""
    async with serving(dsn, replace(settings, response_bytes_max=Settings().response_bytes_max)) as api:
        await api.register(credits=100)
        for number in range(100):
            await api.create(str(number), caption={"text": "a" * 50_000})
        data = await api.query("{ viewer { videos(first: 100) { nodes { caption } } } }")
        assert len(data["viewer"]["videos"]["nodes"]) == 100


async def test_content_with_the_slow_encoder(api: Api) -> None:
    """Stored JSON is passed through, and a response that the fast encoder refuses shows it unchanged."""
    await api.register(credits=100)
    video = await api.video()
    stored = {"caption": 1.5, "list": [None, 10**30, "é\u2028"], "": {}}
    await api.mutate("updateVideoData", recordId=video, captionJson=stored, config=None, images=[])
    document = "{ viewer { videos { nodes { captionJson config caption images { image } script } } } }"
    nodes: list[Any] = [{"captionJson": stored, "config": None, "caption": None, "images": [], "script": None}]
    assert (await api.post(document, subject="ann"))["data"]["viewer"]["videos"]["nodes"] == nodes
    assert encode_utf8([orjson.Fragment('{"a": 1}'), 10**30]) == b'[{"a":1},1' + b"0" * 30 + b"]"


async def test_aliases_are_refused_before_encoding(api: Api, database: Database) -> None:
    """A large column under many aliases is refused at the limit, before a response is encoded."""
    (video,) = await with_videos(api, 1)
    key = decode_id(video)
    assert isinstance(key, VideoKey)
    content = ContentLoader(database, ContentBudget(11_000))
    for _ in range(2):
        await content.load(key, "caption_json")
    with pytest.raises(RequestError, match="more than 11,000 bytes"):
        await content.load(key, "caption_json")
