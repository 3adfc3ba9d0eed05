"""What is measured: calls of the API, and the statements that each of them comes down to."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from db.user import ADJUST_USER_CREDITS, GET_USERS, REGISTER_USER
from db.video_data import (
    CREATE_VIDEO_DATA,
    GET_VIDEO_DATA,
    LIST_VIDEOS,
    RETRY_VIDEO_DATA,
    TRASH_VIDEO_DATA,
    UPDATE_VIDEO_DATA,
    UPDATE_VIDEO_RECORD_STATUS,
)
from resolvers.identity import Role


class Varying(Enum):
    """A part of a call that differs from call to call."""

    USER = "the connection's own user"
    VIDEO = "the next of the user's videos"
    KEY = "a text that was not sent before"
    PROGRESS = "1 percent; one more each time that the videos start over"
    REQUEST = "a random number, the request's id"
    COLUMNS = "columns in JSON, whose values were not sent before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of call, as GraphQL and as statements, each with its arguments; a list has one element."""

    name: str
    document: str
    variables: Mapping[str, object]
    statements: tuple[tuple[str, *tuple[object, ...]], ...]
    sign: str = '"title"'  # What the body of a right answer holds,
    signs: int = 1  # and how often.
    rows: int = 1  # How many rows the last statement finds.
    raised: int = 0  # By how much a call raises the versions of wallets and videos, all in all,
    amount: int = 0  # and by how much a balance.
    postgraphile: str | None = None  # The same query in the schema that PostGraphile makes of the tables.
    role: Role = Role.USER
    status: str = "QUEUED"  # How the videos must be before it.
    trashed: bool = False


def _mutation(field: str, shown: str, given: Mapping[str, object], *called: Any, what: str = "", **more: Any) -> Case:
    mutation, *arguments = called
    kind = field[0].upper() + field[1:]
    result = f"__typename ... on Error {{ code message }} ... on {kind}Success {{ {shown} }}"
    return Case(
        name=field + what,
        document=f"mutation($input: {kind}Input!) {{ {field}(input: $input) {{ {result} }} }}",
        variables={"input": given},
        statements=((mutation.text, *([argument] for argument in (*arguments, REQUEST))),),
        sign=f'"{kind}Success"',
        **{"raised": 1, **more},
    )


USER, VIDEO, KEY, PROGRESS, REQUEST, COLUMNS = Varying
SCRIPT = "The blue whale is the largest animal that has ever lived, and yet it feeds on some of the smallest. " * 9
_NEW = {"title": "Whales", "videoStyle": "realistic", "topic": "The sea", "script": SCRIPT, "createdBy": "ann"}
_NEW_ROW = ("Whales", "realistic", "The sea", SCRIPT, '{"font": "bold"}', "v1", "Vera", "ann")
CREATIONS_MAX, STORAGE_MAX = 2_147_483_647, 999_999_999_999_999  # What no benchmark reaches.
_CAPTIONS = {"take": KEY, "words": [{"text": "whale", "start": n / 2, "end": n / 2 + 0.4} for n in range(100)]}
_HASH, _ACTOR = bytes(32), "USER:benchmark"
_NEWEST = (UUID(int=2**128 - 1), UUID(int=0), 21, None, False)


def _report(status: str | None = None, progress: Varying | None = None) -> tuple[Any, ...]:
    comments = download_url = attempt = None
    return (UPDATE_VIDEO_RECORD_STATUS, USER, VIDEO, status, comments, progress, download_url, attempt, _ACTOR)


_CARD = "id title videoStyle topic status comments renderProgress downloadUrl attempt version createdAt updatedAt"
_PAGE = f"nodes {{ {_CARD} }} pageInfo {{ endCursor }}"
_STATE = "videoData { id status renderProgress attempt version updatedAt }"
_BALANCE = "user { id credits version } entry { id number amount balanceAfter } replayed"
_BOTH = f"{_STATE} {_BALANCE}"

CASES = (
    _mutation(
        *("createVideoData", _BOTH),
        {**_NEW, "caption": {"font": "bold"}, "voice": {"voiceId": "v1", "name": "Vera"}, "idempotencyKey": KEY},
        *(CREATE_VIDEO_DATA, USER, KEY, _HASH, USER, 1, _ACTOR, *_NEW_ROW, CREATIONS_MAX, STORAGE_MAX),
        raised=2,
        amount=-1,
    ),
    _mutation(
        *("updateVideoRecordStatus", _BOTH, {"recordId": VIDEO, "status": "READY"}),
        *_report(status="READY"),
        what=", moved",
        role=Role.WORKER,
    ),
    _mutation(
        *("updateVideoRecordStatus", _BOTH, {"recordId": VIDEO, "renderProgress": PROGRESS}),
        *_report(progress=PROGRESS),
        what=", progress",
        role=Role.WORKER,
    ),
    _mutation(
        *("adjustUserCredits", _BALANCE),
        # What has a default is given, too: Mercurius' compiler asks for it.
        {
            "userId": USER,
            "amount": 1,
            "takeAvailable": False,
            "kind": "PURCHASE",
            "memo": "1 credit",
            "idempotencyKey": KEY,
        },
        *(ADJUST_USER_CREDITS, USER, KEY, _HASH, USER, 1, False, "PURCHASE", _ACTOR, "1 credit"),
        role=Role.ADMIN,
        amount=1,
    ),
    Case(
        name="videoData",
        document=f"query($id: ID!) {{ videoData(id: $id) {{ {_CARD} }} }}",
        variables={"id": VIDEO},
        statements=((GET_VIDEO_DATA, [USER], [VIDEO]),),
    ),
    Case(
        name="viewer, 20 videos",
        document=f"{{ viewer {{ name credits videos {{ {_PAGE} }} }} }}",
        postgraphile=f"{{ viewer {{ name wallet: walletByUserId {{ credits "
        f"videos: videoDataByWalletId(first: 20, orderBy: PRIMARY_KEY_DESC) {{ {_PAGE} }} }} }} }}",
        variables={},
        statements=((GET_USERS, [USER]), (LIST_VIDEOS[False], [USER], *_NEWEST)),
        signs=20,
        rows=21,
    ),
    _mutation(
        *("registerUser", "user { id name credits version } replayed", {"name": KEY}),
        *(REGISTER_USER, USER, "unused", COLUMNS, 10, _ACTOR),
        what=", new name",
    ),
    _mutation(
        *("updateVideoData", _STATE, {"recordId": VIDEO, "captionJson": _CAPTIONS}),
        *(UPDATE_VIDEO_DATA, USER, VIDEO, None, COLUMNS, STORAGE_MAX),
    ),
    _mutation(
        *("cancelVideoData", _BOTH, {"recordId": VIDEO}),
        *_report(status="CANCELED"),
        raised=2,
        amount=1,
    ),
    _mutation("trashVideoData", _STATE, {"recordId": VIDEO}, TRASH_VIDEO_DATA, USER, VIDEO, True),
    _mutation("restoreVideoData", _STATE, {"recordId": VIDEO}, TRASH_VIDEO_DATA, USER, VIDEO, False, trashed=True),
    _mutation(
        *("retryVideoData", _BOTH, {"recordId": VIDEO, "idempotencyKey": KEY}),
        *(RETRY_VIDEO_DATA, USER, VIDEO, KEY, _HASH, 1, _ACTOR, CREATIONS_MAX),
        raised=2,
        amount=-1,
        status="FAILED",
    ),
)
CREATE, UPDATE, PROGRESSED, ADJUST, ONE, LIST = CASES[:6]
ENTRIES = Case(
    name="viewer, 20 entries",
    document="{ viewer { name credits creditEntries { nodes { id number kind amount balanceAfter createdAt } } } }",
    variables={},
    statements=(),
    sign='"balanceAfter"',
    signs=20,
)
COMPARED = (CREATE, UPDATE, ADJUST, ONE, LIST)  # with the peers, which have these operations
