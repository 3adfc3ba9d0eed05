"""Updates of a video's content, and the trash, over HTTP: one test per outcome."""

import asyncio
from typing import Any

import pytest
from strawberry.utils.str_converters import to_camel_case

from db.database import Database
from resolvers.identity import Identity, Role
from schema.node import VideoKey, encode_id
from schema.video_mutation import WORKERS_COLUMNS
from tests.api import MUTATIONS, Api, fields, named
from tests.rows import every_row

UNKNOWN_VIDEO = encode_id(VideoKey(Identity("ann", Role.USER).user_id, Identity("bob", Role.USER).user_id))
URL = "https://cdn.example/"

# Each field that an update stores: a value, another one, and the result after null.
STORED: dict[str, tuple[Any, Any, Any]] = {
    "script": ("Once.", "Twice.", None),
    "musicTrack": ({"name": "Calm", "url": f"{URL}calm.mp3"}, {"name": "Wild", "url": f"{URL}wild.mp3"}, None),
    "images": (
        [
            {"image": f"{URL}1.png", "start": 0.0, "duration": 2.5},
            {"image": f"{URL}2.png", "start": 2.5, "duration": 1.0},
        ],
        [],
        None,
    ),
    "captionJson": ({"sentences": [{"words": [{"start": 0, "end": 0.25, "word": "Once"}]}]}, [], None),
    "config": ({"transition": "fade"}, False, None),
    "volume": (
        {"backgroundMusic": 0.0, "voice": 0.5},
        {"backgroundMusic": 1.0, "voice": 0.0},
        {"backgroundMusic": 0.4, "voice": 1.0},
    ),
    "audioUrl": (f"{URL}1.mp3", f"{URL}2.mp3", None),
    "downloadUrl": (f"{URL}1.mp4", f"{URL}2.mp4", None),
    "renderId": ("r-1", "r-2", None),
    "bucketName": ("b-1", "b-2", None),
}
WORKERS_FIELDS = [to_camel_case(name) for name in sorted(WORKERS_COLUMNS)]


async def stored(api: Api, video_id: str) -> dict[str, Any]:
    """Read every field that an update can store."""
    parts = {"musicTrack": "MusicTrack", "images": "VideoImage", "volume": "Volume"}
    selected = " ".join(f"{name} {{ {fields(parts[name])} }}" if name in parts else name for name in STORED)
    document = f"query($id: ID!) {{ videoData(id: $id) {{ {selected} }} }}"
    video: dict[str, Any] = (await api.query(document, id=video_id))["videoData"]
    return video


async def store(api: Api, video_id: str, /, role: Role = Role.WORKER, **given: Any) -> dict[str, Any]:
    subject = "ann" if role is Role.USER else "job"
    return await api.mutate("updateVideoData", subject=subject, role=role, recordId=video_id, **given)


async def trash(api: Api, video_id: str) -> dict[str, Any]:
    return await api.mutate("trashVideoData", recordId=video_id)


async def restore(api: Api, video_id: str) -> dict[str, Any]:
    return await api.mutate("restoreVideoData", recordId=video_id)


def test_every_field_is_stored_here() -> None:
    """Whatever an update can store is among the values that are stored here."""
    assert STORED.keys() == named("UpdateVideoDataInput").fields.keys() - {"recordId", "expectedVersion"}


async def test_an_update_stores_what_it_is_given(api: Api) -> None:
    """One update stores every given field and raises the version by one; credits, status and history are unchanged."""
    await api.register(credits=10)
    video_id = await api.video()
    first = {field: values[0] for field, values in STORED.items()}
    answer = await store(api, video_id, **first)
    assert answer["__typename"] == "UpdateVideoDataSuccess"
    assert (answer["videoData"]["version"], answer["videoData"]["status"]) == (2, "QUEUED")
    assert await stored(api, video_id) == first
    assert await api.balance() == 9
    assert len(await api.history(video_id)) == 1


@pytest.mark.parametrize("field", STORED)
async def test_an_update_changes_only_given_fields(api: Api, field: str) -> None:
    """Fields that are not given stay; null clears a field; the version rises with each update."""
    await api.register()
    video_id = await api.video()
    before = {field: values[0] for field, values in STORED.items()}
    await store(api, video_id, **before)
    _, other, empty = STORED[field]
    for version, (given, read) in enumerate(((other, other), (None, empty)), start=3):
        answer = await store(api, video_id, **{field: given})
        assert await stored(api, video_id) == before | {field: read}
        assert answer["videoData"]["version"] == version
        assert answer["videoData"]["updatedAt"] > answer["videoData"]["createdAt"]


async def test_an_update_expects_the_version_it_saw(api: Api, database: Database) -> None:
    """An update with an outdated expectedVersion saves nothing and reports both versions; the current one succeeds."""
    await api.register()
    video_id = await api.video()
    await store(api, video_id, Role.USER, script="first tab", expectedVersion=1)
    before = await every_row(database)
    for expected in (1, 3, 0, -1, 2_147_483_647):
        refused = await store(api, video_id, Role.USER, script="second tab", expectedVersion=expected)
        assert (refused["__typename"], refused["code"]) == ("VersionConflict", "VERSION_CONFLICT")
        assert (refused["expectedVersion"], refused["currentVersion"]) == (expected, 2)
    assert await every_row(database) == before
    saved = await store(api, video_id, Role.USER, script="second tab", expectedVersion=2)
    assert saved["videoData"]["version"] == 3
    unseen = await store(api, video_id, Role.USER, config={}, expectedVersion=None)
    assert unseen["videoData"]["version"] == 4


async def test_one_of_concurrent_updates_saves(api: Api) -> None:
    """Of concurrent updates with the same expectedVersion one is saved; the others get VERSION_CONFLICT."""
    await api.register()
    video_id = await api.video()
    answers = await asyncio.gather(
        *(store(api, video_id, Role.USER, config=tab, expectedVersion=1) for tab in range(10))
    )
    kinds = [answer["__typename"] for answer in answers]
    assert sorted(kinds) == ["UpdateVideoDataSuccess"] + 9 * ["VersionConflict"]
    assert {answer["currentVersion"] for answer in answers if "currentVersion" in answer} == {2}
    assert (await stored(api, video_id))["config"] == kinds.index("UpdateVideoDataSuccess")


async def test_only_a_save_conflicts_with_a_save(api: Api) -> None:
    """Reports and the trash raise the version, but conflict with no save; another save does."""
    await api.register()
    video_id = await api.video(renderProgress=10)
    await trash(api, video_id)
    assert (await store(api, video_id, config={}, expectedVersion=1))["videoData"]["version"] == 4
    await api.report(video_id, status="RENDERING")
    for seen, current in ((3, 5), (6, 5)):
        assert (await store(api, video_id, config=[], expectedVersion=seen))["currentVersion"] == current
    assert (await store(api, video_id, config=[], expectedVersion=4))["videoData"]["version"] == 6


@pytest.mark.parametrize("field", STORED)
async def test_to_save_what_is_stored_changes_nothing(api: Api, database: Database, field: str) -> None:
    """A save that was sent twice succeeds twice, whatever version it expects, and changes nothing the second time."""
    await api.register()
    video_id = await api.video()
    for value in (STORED[field][0], None):
        for others in ({}, {"volume": {"backgroundMusic": 0.25, "voice": 0.75}}):
            given: dict[str, Any] = {**others, field: value}
            saved = await store(api, video_id, **given)
            before = await every_row(database)
            for expected in (None, 1, saved["videoData"]["version"]):
                assert await store(api, video_id, **given, expectedVersion=expected) == saved
            assert await every_row(database) == before


@pytest.mark.parametrize("field", WORKERS_FIELDS)
async def test_the_farms_columns_are_for_workers(api: Api, database: Database, field: str) -> None:
    """A USER can neither set nor clear the render farm's results, on any video; such an update stores nothing."""
    await api.register()
    video_id = await api.video()
    before = await every_row(database)
    for record_id in (video_id, UNKNOWN_VIDEO):
        for value in (STORED[field][0], None):
            given = {"recordId": record_id, "script": "mine", field: value}
            (error,) = (await api.post(MUTATIONS["updateVideoData"], {"input": given}, subject="ann"))["errors"]
            assert error["extensions"]["code"] == "FORBIDDEN"
            assert f"`{field}`" in error["message"]
    assert await every_row(database) == before
    for role in (Role.WORKER, Role.ADMIN):
        assert (await store(api, video_id, role, **{field: STORED[field][0]}))["videoData"][field] == STORED[field][0]


@pytest.mark.parametrize("field", [field for field in STORED if field not in WORKERS_FIELDS])
async def test_users_store_the_editors_columns(api: Api, field: str) -> None:
    """A USER stores the editor's content on its own video."""
    await api.register()
    video_id = await api.video()
    await store(api, video_id, Role.USER, **{field: STORED[field][0]})
    assert (await stored(api, video_id))[field] == STORED[field][0]


@pytest.mark.parametrize("mutation", ["updateVideoData", "trashVideoData", "restoreVideoData"])
async def test_an_unknown_video_is_not_found(api: Api, database: Database, mutation: str) -> None:
    """An unknown id, a malformed one, another object's and another user's video are all VideoDataNotFound."""
    user_id = await api.register("ann")
    await api.register("bob")
    others = (await api.create("key", subject="bob"))["videoData"]["id"]
    before = await every_row(database)
    more: dict[str, Any] = {"script": "mine", "expectedVersion": 7} if mutation == "updateVideoData" else {}
    for record_id in (UNKNOWN_VIDEO, user_id, "", "video_AA", others):
        refused = await api.mutate(mutation, recordId=record_id, **more)
        assert (refused["__typename"], refused["code"]) == ("VideoDataNotFound", "VIDEO_DATA_NOT_FOUND")
    assert await every_row(database) == before


async def test_trash_and_restore(api: Api, database: Database) -> None:
    """Trashing and restoring report whether they changed anything, raise the version if so, and touch nothing else."""
    await api.register(credits=10)
    video_id = await api.video(status="RENDERING", renderProgress=30)
    trashed = await trash(api, video_id)
    assert (trashed["__typename"], trashed["replayed"]) == ("TrashVideoDataSuccess", False)
    video = trashed["videoData"]
    assert video["trashedAt"] == video["updatedAt"]
    assert (video["status"], video["renderProgress"], video["version"]) == ("RENDERING", 30, 3)
    before = await every_row(database)
    assert await trash(api, video_id) == trashed | {"replayed": True}
    assert await every_row(database) == before
    restored = await restore(api, video_id)
    assert (restored["__typename"], restored["replayed"]) == ("RestoreVideoDataSuccess", False)
    assert (restored["videoData"]["trashedAt"], restored["videoData"]["version"]) == (None, 4)
    assert await restore(api, video_id) == restored | {"replayed": True}
    assert await api.balance() == 9
    assert len(await api.history(video_id)) == 2


async def test_a_trashed_video_still_works(api: Api) -> None:
    """A trashed video can be reported on, canceled and retried like any other."""
    await api.register(credits=10)
    video_id = await api.video()
    await trash(api, video_id)
    assert (await api.report(video_id, status="RENDERING"))["replayed"] is False
    assert (await api.cancel(video_id))["user"]["credits"] == 10
    retried = await api.retry(video_id, "again")
    assert retried["videoData"]["trashedAt"] is not None
    assert (await store(api, video_id, script="new"))["__typename"] == "UpdateVideoDataSuccess"


async def test_concurrent_trashing(api: Api) -> None:
    """Of concurrent trashings one reports a change, and the version rises once."""
    await api.register()
    video_id = await api.video()
    answers = await asyncio.gather(*(trash(api, video_id) for _ in range(10)))
    assert sorted(answer["replayed"] for answer in answers) == [False] + 9 * [True]
    assert {answer["videoData"]["version"] for answer in answers} == {2}
