"""Strawberry as its documentation shows it, on Starlette, uvicorn and asyncpg: no caches, no limits, no logs."""

import datetime
import hashlib
import json
import os
import socket
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from random import getrandbits
from typing import TypeAlias
from uuid import UUID

import asyncpg
import jwt
import strawberry
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader
from strawberry.scalars import JSON

from db.database import SESSION_SETTINGS
from db.json_text import json_argument
from db.mutation import Mutation as Function
from db.user import ADJUST_USER_CREDITS, GET_USERS
from db.video_data import CREATE_VIDEO_DATA, GET_VIDEO_DATA, LIST_VIDEOS, UPDATE_VIDEO_RECORD_STATUS
from resolvers.identity import Identity, Role

COST, PAGE_SIZE = 1, 20
LAST_ID, FIRST_ID = UUID(int=2**128 - 1), UUID(int=0)

# Quoted: asyncpg's classes are generic only to type checkers.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


def encode_id(kind: str, *parts: UUID | int) -> strawberry.ID:
    packed = b"".join(part.bytes if isinstance(part, UUID) else part.to_bytes(8, "big") for part in parts)
    return strawberry.ID(f"{kind}_{urlsafe_b64encode(packed).rstrip(b'=').decode()}")


def decode_id(text: str) -> list[UUID]:
    payload = text.partition("_")[2]
    packed = urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return [UUID(bytes=packed[start : start + 16]) for start in range(0, len(packed), 16)]


@dataclass
class Context:
    pool: Pool
    identity: Identity
    videos: "DataLoader[UUID, VideoConnection]"


Info = strawberry.Info[Context, None]


@strawberry.type
class VideoData:
    id: strawberry.ID
    title: str
    video_style: str
    topic: str | None
    status: str
    comments: JSON | None
    render_progress: int
    download_url: str | None
    attempt: int
    version: int
    created_at: datetime.datetime
    updated_at: datetime.datetime


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class VideoConnection:
    nodes: list[VideoData]
    page_info: PageInfo


@strawberry.type
class User:
    id: strawberry.ID
    user_id: strawberry.Private[UUID]
    name: str | None
    credits: int
    version: int

    async def _videos(self, info: Info) -> VideoConnection:
        return await info.context.videos.load(self.user_id)

    videos: VideoConnection = strawberry.field(resolver=_videos)


@strawberry.type
class CreditEntry:
    id: strawberry.ID
    number: int
    amount: int
    balance_after: int


@strawberry.interface
class Error:
    code: str
    message: str


@strawberry.type
class Refused(Error):  # noqa: N818 - a refusal is data
    pass


@strawberry.type
class CreateVideoDataSuccess:
    video_data: VideoData
    user: User
    entry: CreditEntry
    replayed: bool


@strawberry.type
class UpdateVideoRecordStatusSuccess:
    video_data: VideoData
    user: User
    entry: CreditEntry | None
    replayed: bool


@strawberry.type
class AdjustUserCreditsSuccess:
    user: User
    entry: CreditEntry
    replayed: bool


@strawberry.input
class VoiceInput:
    voice_id: str
    name: str


@strawberry.input
class CreateVideoDataInput:
    title: str
    video_style: str
    idempotency_key: str
    topic: str | None = None
    script: str | None = None
    caption: JSON | None = None
    voice: VoiceInput | None = None
    created_by: str | None = None


@strawberry.input
class UpdateVideoRecordStatusInput:
    record_id: strawberry.ID
    status: str | None = None
    comments: JSON | None = None
    render_progress: int | None = None
    download_url: str | None = None
    attempt: int | None = None


@strawberry.input
class AdjustUserCreditsInput:
    user_id: strawberry.ID
    amount: int
    take_available: bool
    kind: str
    idempotency_key: str
    memo: str | None = None


USER_COLUMNS = ("user_id", "name", "credits", "version")
VIDEO_COLUMNS = (
    *("title", "video_style", "topic", "status", "comments", "render_progress", "download_url", "attempt", "version"),
    *("created_at", "updated_at"),
)


def user(row: asyncpg.Record) -> User:
    return User(id=encode_id("user", row["user_id"]), **{name: row[name] for name in USER_COLUMNS})


def wallet(row: asyncpg.Record) -> User:
    """Make a user of what a mutation answers with: the wallet, without the profile."""
    key = row["wallet_wallet_id"]
    return User(
        id=encode_id("user", key), user_id=key, name=None, credits=row["wallet_credits"], version=row["wallet_version"]
    )


def video(row: asyncpg.Record, prefix: str = "") -> VideoData:
    key = encode_id("video", row[f"{prefix}wallet_id"], row[f"{prefix}id"])
    return VideoData(id=key, **{name: row[prefix + name] for name in VIDEO_COLUMNS})


def entry(row: asyncpg.Record) -> CreditEntry | None:
    number = row["entry_number"]
    if number is None:
        return None
    key = encode_id("entry", row["entry_wallet_id"], number)
    return CreditEntry(id=key, number=number, amount=row["entry_amount"], balance_after=row["entry_balance_after"])


async def run(info: Info, role: Role, function: Function, *arguments: object) -> asyncpg.Record:
    """Run a mutation for one call, if the caller has the role: each argument is an array of one."""
    if info.context.identity.role is not role:
        raise PermissionError("You may not do this.")
    arrays = [[argument] for argument in (*arguments, getrandbits(63))]
    row = await info.context.pool.fetchrow(function.text, *arrays)
    assert row is not None
    return row


def refused(row: asyncpg.Record) -> Refused:
    return Refused(code=row["outcome"].upper(), message=f"Refused: {row['outcome']}.")


def hashed(*arguments: object) -> bytes:
    return hashlib.sha256(json.dumps(arguments).encode()).digest()


async def create_video_data(info: Info, input: CreateVideoDataInput) -> CreateVideoDataSuccess | Refused:
    me, voice = info.context.identity, input.voice
    request_hash = hashed("createVideoData", input.title, input.video_style, input.topic, input.script, input.caption)
    row = await run(
        info,
        Role.USER,
        CREATE_VIDEO_DATA,
        *(me.user_id, input.idempotency_key, request_hash, me.user_id, COST, me.actor),
        *(input.title, input.video_style, input.topic, input.script, json_argument(input.caption)),
        *((voice.voice_id, voice.name) if voice else (None, None)),
        *(input.created_by, None, None),  # No quotas.
    )
    written = entry(row)
    if written is None or row["outcome"] not in {"created", "replayed"}:
        return refused(row)
    return CreateVideoDataSuccess(
        video_data=video(row, "video_"),
        user=wallet(row),
        entry=written,
        replayed=row["outcome"] == "replayed",
    )


async def update_video_record_status(
    info: Info, input: UpdateVideoRecordStatusInput
) -> UpdateVideoRecordStatusSuccess | Refused:
    row = await run(
        info,
        Role.WORKER,
        UPDATE_VIDEO_RECORD_STATUS,
        *(
            *decode_id(input.record_id),
            input.status,
            json_argument(input.comments),
            input.render_progress,
            input.download_url,
            input.attempt,
            info.context.identity.actor,
        ),
    )
    outcome = row["outcome"]
    if outcome not in {"moved", "noted", "unchanged"}:
        return refused(row)
    return UpdateVideoRecordStatusSuccess(
        video_data=video(row, "video_"),
        user=wallet(row),
        entry=entry(row),
        replayed=outcome == "unchanged",
    )


async def adjust_user_credits(info: Info, input: AdjustUserCreditsInput) -> AdjustUserCreditsSuccess | Refused:
    (user_id,) = decode_id(input.user_id)
    row = await run(
        info,
        Role.ADMIN,
        ADJUST_USER_CREDITS,
        *(
            user_id,
            input.idempotency_key,
            hashed("adjustUserCredits", input.amount, input.take_available, input.kind, input.memo),
            user_id,
        ),
        *(input.amount, input.take_available, input.kind, info.context.identity.actor, input.memo),
    )
    written = entry(row)
    if written is None or row["outcome"] not in {"adjusted", "replayed"}:
        return refused(row)
    return AdjustUserCreditsSuccess(user=wallet(row), entry=written, replayed=row["outcome"] == "replayed")


async def viewer(info: Info) -> User | None:
    row = await info.context.pool.fetchrow(GET_USERS, [info.context.identity.user_id])
    return None if row is None else user(row)


async def video_data(info: Info, id: strawberry.ID) -> VideoData | None:
    owner, video_id = decode_id(id)
    me = info.context.identity
    if me.role is Role.USER and me.user_id != owner:
        return None
    row = await info.context.pool.fetchrow(GET_VIDEO_DATA, [owner], [video_id])
    return None if row is None else video(row)


async def videos_of(pool: Pool, user_ids: list[UUID]) -> list[VideoConnection]:
    rows = await pool.fetch(LIST_VIDEOS[False], user_ids, LAST_ID, FIRST_ID, PAGE_SIZE + 1, None, False)
    pages: dict[UUID, list[asyncpg.Record]] = {user_id: [] for user_id in user_ids}
    for row in rows:
        pages[row["wallet_id"]].append(row)
    return [
        VideoConnection(
            nodes=[video(row) for row in page[:PAGE_SIZE]],
            page_info=PageInfo(
                has_next_page=len(page) > PAGE_SIZE,
                end_cursor=urlsafe_b64encode(page[:PAGE_SIZE][-1]["id"].bytes).decode() if page else None,
            ),
        )
        for page in pages.values()
    ]


@strawberry.type
class Query:
    viewer = strawberry.field(resolver=viewer)
    video_data = strawberry.field(resolver=video_data)


@strawberry.type
class Mutation:
    create_video_data = strawberry.field(resolver=create_video_data)
    update_video_record_status = strawberry.field(resolver=update_video_record_status)
    adjust_user_credits = strawberry.field(resolver=adjust_user_credits)


@lru_cache(1024)
def identify(authorization: str) -> Identity:
    """Verify a token once; the benchmark ends before any expires."""
    claims = jwt.decode(
        authorization.removeprefix("Bearer "),
        os.environ["JWT_SECRET"],
        algorithms=["HS256"],
        audience="videocredits",
        issuer="videocredits",
    )
    return Identity(claims["sub"], Role(claims["role"]))


class View(GraphQL[Context, None]):
    """Strawberry's own view, which knows who calls."""

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:  # noqa: ARG002 - Strawberry passes it
        pool = request.app.state.pool
        return Context(pool, identify(request.headers["authorization"]), DataLoader(partial(videos_of, pool)))


async def teach_json(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    size = int(os.environ["POOL_SIZE"])
    async with asyncpg.create_pool(
        os.environ["DATABASE_URL"], min_size=size, max_size=size, init=teach_json, server_settings=SESSION_SETTINGS
    ) as app.state.pool:
        yield


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    view = View(strawberry.Schema(query=Query, mutation=Mutation))
    app = Starlette(routes=[Route("/graphql", view)], lifespan=lifespan)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}/graphql", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listener])
