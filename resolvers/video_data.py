"""Resolvers that find, create and change videos, and report on them."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import asdict
from typing import Annotated, Any, assert_never

import strawberry
from strawberry.utils.str_converters import to_camel_case

import db.video_data
from db.change_feed import UNSEEN, UNSEEN_PAGE, WatchedPage, WatchedVideo, page_digest
from db.video_data import VideoDataRow
from resolvers import objects, refusals
from resolvers.connection import LONGEST_WAITING_FIRST, NEWEST_VIDEO_FIRST, connection, window
from resolvers.context import Info
from resolvers.idempotency import request_hash
from resolvers.identity import Role
from resolvers.loaders import Loaders
from resolvers.objects import required
from resolvers.rules import Access, admit, quotas_of
from resolvers.states import Seen, states
from resolvers.video_filter import wanted
from schema.connection import After, Before, Connection, First, Last, Page
from schema.error import RequestError, VideoDataNotFound
from schema.node import UserKey, VideoKey, decode_id
from schema.video_data import VideoData, VideoDataStats, VideoFilter
from schema.video_mutation import (
    WORKERS_COLUMNS,
    CancelVideoDataInput,
    CancelVideoDataResult,
    CancelVideoDataSuccess,
    CreateVideoDataInput,
    CreateVideoDataResult,
    CreateVideoDataSuccess,
    RestoreVideoDataInput,
    RestoreVideoDataResult,
    RestoreVideoDataSuccess,
    RetryVideoDataInput,
    RetryVideoDataResult,
    RetryVideoDataSuccess,
    TrashVideoDataInput,
    TrashVideoDataResult,
    TrashVideoDataSuccess,
    UpdateVideoDataInput,
    UpdateVideoDataResult,
    UpdateVideoDataSuccess,
    UpdateVideoRecordStatusInput,
    UpdateVideoRecordStatusResult,
    UpdateVideoRecordStatusSuccess,
    VolumeInput,
)
from schema.video_status import VideoStatus


def _within_reach(access: Access, id: str) -> VideoKey | None:
    key = decode_id(id)
    return key if isinstance(key, VideoKey) and access.reaches(key.wallet_id) else None


async def video_data(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The video's id.")]
) -> VideoData | None:
    key = _within_reach(admit(info), id)
    row = key and await info.context.loaders.video_data(key)
    return row and objects.video_data(row)


async def videos(
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
    filter: Annotated[
        VideoFilter | None, strawberry.argument(description="Which videos; all but the trashed ones if not given.")
    ] = None,
) -> Connection[VideoData]:
    admit(info)
    part = window(Page(first, after, last, before), NEWEST_VIDEO_FIRST)
    rows = await db.video_data.list_all_videos(info.context.database, *part.bounds, *wanted(filter))
    return connection(rows, part, lambda row: row.id, objects.video_data)


async def render_queue(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> Connection[VideoData]:
    admit(info)
    part = window(Page(first, after, last, before), LONGEST_WAITING_FIRST)
    rows = await db.video_data.list_render_queue(info.context.database, *part.bounds)
    return connection(rows, part, lambda row: required(row.queue_id), objects.video_data)


async def video_data_stats(info: Info) -> VideoDataStats:
    admit(info)
    counts = await db.video_data.count_video_data(info.context.database)
    return VideoDataStats(**counts._asdict())


async def video_data_updated(
    info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The video's id.")]
) -> AsyncGenerator[VideoData | None, None]:
    key = _within_reach(admit(info), id)
    if key is None:
        return _nothing()

    async def read(loaders: Loaders) -> Seen[VideoData | None]:
        row = await loaders.video_data(key)
        if row is None:  # Nor will there ever be: ids are given to videos as they are created.
            return Seen(WatchedVideo(*key, UNSEEN), "none", None, is_last=True)
        positions = await _queue_positions([row], loaders)
        return Seen(WatchedVideo(*key, row.version), (row.version, positions), objects.video_data(row), bool(positions))

    return states(info.context, WatchedVideo(*key, UNSEEN), read)


async def _nothing() -> AsyncGenerator[None, None]:
    yield None


async def videos_updated(
    info: Info,
    first: First = None,
    filter: Annotated[
        VideoFilter | None, strawberry.argument(description="Which videos; all but the trashed ones if not given.")
    ] = None,
) -> AsyncGenerator[Connection[VideoData], None]:
    user_id = admit(info).identity.user_id
    part = window(Page(first, None, None, None), NEWEST_VIDEO_FIRST)
    terms = wanted(filter)
    subject = WatchedPage(user_id, part.size + 1, *terms, UNSEEN_PAGE)

    async def read(loaders: Loaders) -> Seen[Connection[VideoData]]:
        rows = await loaders.videos(user_id, part, terms)
        positions = await _queue_positions(rows, loaders)
        digest = page_digest([(row.id, row.version) for row in rows])
        page = connection(rows, part, lambda row: row.id, objects.video_data)
        return Seen(subject._replace(digest=digest), (digest, positions), page, bool(positions))

    return states(info.context, subject, read)


async def _queue_positions(rows: list[VideoDataRow], loaders: Loaders) -> list[int | None]:
    """Read the queue positions of those videos that wait to be rendered."""
    queued = [row.queue_id for row in rows if row.queue_id is not None]
    return list(await asyncio.gather(*(loaders.queue_position(queue_id) for queue_id in queued)))


async def create_video_data(
    info: Info, input: Annotated[CreateVideoDataInput, strawberry.argument(description="The new video.")]
) -> CreateVideoDataResult:
    access = admit(info)
    key = UserKey(access.identity.user_id) if input.user_id is None else decode_id(input.user_id)
    if not isinstance(key, UserKey) or not access.reaches(key.user_id):
        return refusals.user_not_found()
    voice = input.voice
    cost = info.context.terms.video_cost
    quotas = quotas_of(info, access)
    row = await db.video_data.create_video_data(
        info.context.database,
        key.user_id,
        input.idempotency_key,
        request_hash(
            "createVideoData",
            title=input.title,
            video_style=input.video_style,
            topic=input.topic,
            script=input.script,
            caption=input.caption,
            voice=voice and {"voice_id": voice.voice_id, "name": voice.name},
            created_by=input.created_by,
        ),
        key.user_id,
        cost,
        access.identity.actor,
        input.title,
        input.video_style,
        input.topic,
        input.script,
        input.caption,
        None if voice is None else voice.voice_id,
        None if voice is None else voice.name,
        input.created_by,
        quotas.creations_per_day_max,
        quotas.storage_bytes_per_user_max,
    )
    match row.outcome:
        case "idempotency_key_reused":
            return refusals.idempotency_key_reused(input.idempotency_key)
        case "user_not_found":
            return refusals.user_not_found()
        case "creations_exceeded" | "storage_exceeded":
            return refusals.quota_exceeded(row.outcome, required(row.quota), quotas)
        case "insufficient_credits":
            return refusals.insufficient_credits(required(row.wallet), cost)
        case "created" | "replayed":
            return CreateVideoDataSuccess(
                video_data=objects.video_data(video := required(row.video)),
                user=objects.owner(video.user_id, required(row.wallet), info.context.loaders),
                entry=objects.credit_entry(required(row.entry)),
                replayed=row.outcome == "replayed",
            )
        case _:
            assert_never(row.outcome)


async def update_video_record_status(  # noqa: PLR0911 - each outcome is answered in its own way
    info: Info, input: Annotated[UpdateVideoRecordStatusInput, strawberry.argument(description="The report.")]
) -> UpdateVideoRecordStatusResult:
    access = admit(info)
    key = _within_reach(access, input.record_id)
    if key is None:
        return refusals.video_data_not_found()
    row = await db.video_data.update_video_record_status(
        info.context.database,
        key.wallet_id,
        key.video_id,
        input.status and input.status.name,
        input.comments,
        input.render_progress,
        input.download_url,
        1 if input.attempt is None else input.attempt,
        access.identity.actor,
    )
    match row.outcome:
        case "video_data_not_found":
            return refusals.video_data_not_found()
        case "stale_attempt":
            return refusals.stale_attempt(required(row.video))
        case "contradictory":
            return refusals.contradictory_report(required(row.video))
        case "illegal_transition":
            return refusals.illegal_transition(required(row.video), required(input.status))
        case "credits_out_of_range":
            return refusals.refund_out_of_range(required(row.wallet))
        case "unchanged" | "noted" | "moved":
            return UpdateVideoRecordStatusSuccess(
                video_data=objects.video_data(video := required(row.video)),
                user=objects.owner(video.user_id, required(row.wallet), info.context.loaders),
                entry=row.entry and objects.credit_entry(row.entry),
                replayed=row.outcome == "unchanged",
            )
        case _:
            assert_never(row.outcome)


async def cancel_video_data(
    info: Info, input: Annotated[CancelVideoDataInput, strawberry.argument(description="Which video.")]
) -> CancelVideoDataResult:
    access = admit(info)
    key = _within_reach(access, input.record_id)
    if key is None:
        return refusals.video_data_not_found()
    row = await db.video_data.update_video_record_status(
        info.context.database,
        key.wallet_id,
        key.video_id,
        status=VideoStatus.CANCELED.name,
        comments=None,
        render_progress=None,
        download_url=None,
        attempt=None,
        actor=access.identity.actor,
    )
    match row.outcome:
        case "video_data_not_found":
            return refusals.video_data_not_found()
        case "illegal_transition":
            return refusals.illegal_transition(required(row.video), VideoStatus.CANCELED)
        case "credits_out_of_range":
            return refusals.refund_out_of_range(required(row.wallet))
        case "unchanged" | "moved":
            return CancelVideoDataSuccess(
                video_data=objects.video_data(video := required(row.video)),
                user=objects.owner(video.user_id, required(row.wallet), info.context.loaders),
                entry=objects.credit_entry(required(row.entry)),
                replayed=row.outcome == "unchanged",
            )
        case "stale_attempt" | "contradictory" | "noted":
            raise AssertionError(row.outcome)  # Neither an attempt nor a note was given.
        case _:
            assert_never(row.outcome)


async def retry_video_data(  # noqa: PLR0911 - each outcome is answered in its own way
    info: Info, input: Annotated[RetryVideoDataInput, strawberry.argument(description="Which video.")]
) -> RetryVideoDataResult:
    access = admit(info)
    key = _within_reach(access, input.record_id)
    if key is None:
        return refusals.video_data_not_found()
    cost = info.context.terms.video_cost
    quotas = quotas_of(info, access)
    row = await db.video_data.retry_video_data(
        info.context.database,
        key.wallet_id,
        key.video_id,
        input.idempotency_key,
        request_hash("retryVideoData", record_id=input.record_id),
        cost,
        access.identity.actor,
        quotas.creations_per_day_max,
    )
    match row.outcome:
        case "idempotency_key_reused":
            return refusals.idempotency_key_reused(input.idempotency_key)
        case "video_data_not_found":
            return refusals.video_data_not_found()
        case "illegal_transition":
            return refusals.illegal_transition(required(row.video), VideoStatus.QUEUED)
        case "creations_exceeded":
            return refusals.quota_exceeded(row.outcome, required(row.quota), quotas)
        case "insufficient_credits":
            return refusals.insufficient_credits(required(row.wallet), cost)
        case "restarted" | "replayed":
            return RetryVideoDataSuccess(
                video_data=objects.video_data(video := required(row.video)),
                user=objects.owner(video.user_id, required(row.wallet), info.context.loaders),
                entry=objects.credit_entry(required(row.entry)),
                replayed=row.outcome == "replayed",
            )
        case _:
            assert_never(row.outcome)


async def trash_video_data(
    info: Info, input: Annotated[TrashVideoDataInput, strawberry.argument(description="Which video.")]
) -> TrashVideoDataResult:
    found = await _trash(info, input.record_id, trashed=True)
    return found if isinstance(found, VideoDataNotFound) else TrashVideoDataSuccess(**found)


async def restore_video_data(
    info: Info, input: Annotated[RestoreVideoDataInput, strawberry.argument(description="Which video.")]
) -> RestoreVideoDataResult:
    found = await _trash(info, input.record_id, trashed=False)
    return found if isinstance(found, VideoDataNotFound) else RestoreVideoDataSuccess(**found)


async def _trash(info: Info, record_id: str, *, trashed: bool) -> dict[str, Any] | VideoDataNotFound:
    key = _within_reach(admit(info), record_id)
    row = key and await db.video_data.trash_video_data(info.context.database, key.wallet_id, key.video_id, trashed)
    if row is None or row.outcome == "video_data_not_found":
        return refusals.video_data_not_found()
    return {"video_data": objects.video_data(required(row.video)), "replayed": row.outcome == "unchanged"}


async def update_video_data(
    info: Info, input: Annotated[UpdateVideoDataInput, strawberry.argument(description="What to store.")]
) -> UpdateVideoDataResult:
    access = admit(info)
    stored = _columns(input)
    if access.identity.role is Role.USER and (forbidden := stored.keys() & WORKERS_COLUMNS):
        names = ", ".join(f"`{to_camel_case(name)}`" for name in sorted(forbidden))
        raise RequestError("FORBIDDEN", f"Only workers store {names}: leave it out.")
    key = _within_reach(access, input.record_id)
    if key is None:
        return refusals.video_data_not_found()
    quotas = quotas_of(info, access)
    row = await db.video_data.update_video_data(
        info.context.database,
        key.wallet_id,
        key.video_id,
        input.expected_version,
        stored,
        quotas.storage_bytes_per_user_max,
    )
    match row.outcome:
        case "video_data_not_found":
            return refusals.video_data_not_found()
        case "version_conflict":
            return refusals.version_conflict(required(row.video), required(input.expected_version))
        case "storage_exceeded":
            return refusals.quota_exceeded(row.outcome, required(row.quota), quotas)
        case "unchanged" | "updated":
            return UpdateVideoDataSuccess(video_data=objects.video_data(required(row.video)))
        case _:
            assert_never(row.outcome)


def _columns(input: UpdateVideoDataInput) -> dict[str, Any]:
    """Return the columns that the input sets. Null clears one, except a volume, which has defaults."""
    columns = {name: value for name, value in vars(input).items() if value is not strawberry.UNSET}
    for name in ("record_id", "expected_version"):
        columns.pop(name, None)
    if columns.get("images"):
        columns["images"] = [asdict(image) for image in columns["images"]]
    if "music_track" in columns:
        music_track = columns.pop("music_track")
        columns["music_track_name"] = music_track and music_track.name
        columns["music_track_url"] = music_track and music_track.url
    if "volume" in columns:
        volume = columns.pop("volume") or VolumeInput()
        columns["volume_background_music"] = volume.background_music
        columns["volume_voice"] = volume.voice
    return columns
