"""Limits on input: every input field at the limit in its description and beyond it, over HTTP."""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from graphql import (
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
)

from resolvers.identity import Role
from schema.limits import CREDITS_MAX, NODES_MAX
from server.operations.root_fields import build_schema
from tests.api import MUTATIONS, Api
from tests.resolvers.test_updates import STORED

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

URL = "https://cdn.example/a"
INT_MAX, INT_MIN = 2**31 - 1, -(2**31)

# An input of each mutation with every field, except ids and keys, which are added later.
FULL: dict[str, dict[str, Any]] = {
    "registerUser": {"name": "Ann", "email": "ann@example.com", "picture": URL},
    "adjustUserCredits": {
        "userId": "",
        "amount": 1,
        "takeAvailable": True,
        "kind": "REWARD",
        "memo": "why",
        "idempotencyKey": "",
    },
    "createVideoData": {
        "title": "Whales",
        "videoStyle": "realistic",
        "topic": "whales",
        "script": "Once.",
        "caption": {},
        "voice": {"voiceId": "v-1", "name": "Ada"},
        "createdBy": "ann@example.com",
        "userId": "",
        "idempotencyKey": "",
    },
    "updateVideoRecordStatus": {
        "recordId": "",
        "status": "QUEUED",
        "comments": {},
        "renderProgress": 5,
        "downloadUrl": URL,
        "attempt": 1,
    },
    "updateVideoData": {
        "recordId": "",
        "expectedVersion": None,
        **{name: value for name, (value, *_) in STORED.items()},
        "captionJson": {},
        "config": {},
    },
    "cancelVideoData": {"recordId": ""},
    "retryVideoData": {"recordId": "", "idempotencyKey": ""},
    "trashVideoData": {"recordId": ""},
    "restoreVideoData": {"recordId": ""},
}


@dataclass(frozen=True)
class Place:
    """Where in an input a value is, its type (`[]`: a list), and the limit in the field's description."""

    path: tuple[str | int, ...]
    type_name: str
    limit: str

    @property
    def field(self) -> str:
        """The field's name, which a refusal must contain."""
        return next(str(part) for part in reversed(self.path) if isinstance(part, str))

    def put(self, into: dict[str, Any], value: Any) -> dict[str, Any]:
        """Copy an input with another value in this place."""
        changed = copy.deepcopy(into)
        target: Any = changed
        for part in self.path[:-1]:
            target = target[part]
        target[self.path[-1]] = value
        return changed

    def __str__(self) -> str:
        return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)[1:]


def limit_of(field: GraphQLInputField) -> str:
    """Return the limit, which is the last sentence of a field's description, if it has one."""
    return re.split(r"[.:] ", field.description or "")[-1]


def places(type_: GraphQLInputType, limit: str = "", path: tuple[str | int, ...] = ()) -> Iterator[Place]:
    """Walk an input type, and yield each place in it."""
    match type_:
        case GraphQLNonNull():
            yield from places(type_.of_type, limit, path)
        case GraphQLList():
            yield Place(path, "[]", limit)
            yield from places(type_.of_type, "", (*path, 0))
        case GraphQLInputObjectType():
            for name, field in type_.fields.items():
                yield from places(field.type, limit_of(field), (*path, name))
        case _:
            yield Place(path, get_named_type(type_).name, limit)


TYPES = build_schema()._schema  # noqa: SLF001 - Strawberry shows graphql-core's own schema nowhere else.
assert TYPES.mutation_type is not None
PLACES = {name: list(places(field.args["input"].type)) for name, field in TYPES.mutation_type.fields.items()}
TEXT = re.compile(r"1 to ([\d,]+) characters\.")
NUMBER = re.compile(r"(-?[\d,]+) to ([\d,]+)(?:, but not 0)?\.")
ITEMS = re.compile(r"At most ([\d,]+)\.")


def numbers(pattern: re.Pattern[str], limit: str) -> list[int]:
    match = pattern.fullmatch(limit)
    assert match is not None, limit
    return [int(group.replace(",", "")) for group in match.groups()]


def test_every_text_number_and_list_has_a_limit() -> None:
    """The description of every field for text, numbers or lists ends with its limit."""
    without = []
    for type_ in TYPES.type_map.values():
        for name, field in type_.fields.items() if isinstance(type_, GraphQLInputObjectType) else ():
            kind = str(field.type).strip("!")
            pattern = ITEMS if kind.startswith("[") else {"String": TEXT, "Int": NUMBER, "Float": NUMBER}.get(kind)
            if pattern and not pattern.fullmatch(limit_of(field)):
                without.append(f"{type_.name}.{name}")
    assert without == ["UpdateVideoDataInput.expectedVersion"]  # It is only compared, never stored.


def test_every_input_field_is_tried() -> None:
    """The inputs in this test contain every input field of the schema."""

    def given(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
        if isinstance(value, dict) and value:
            for name, part in value.items():
                yield from given(part, (*path, name))
        else:
            yield path
            if isinstance(value, list):
                yield from given(value[0], (*path, 0))

    assert FULL.keys() == PLACES.keys()
    for mutation, full in FULL.items():
        assert set(given(full)) == {place.path for place in PLACES[mutation]}, mutation


def samples(place: Place) -> tuple[list[Any], list[Any]]:
    """Return values for a place: some to accept, and some to refuse."""
    right: list[Any] = []
    match place.type_name:
        case "String":
            (most,) = numbers(TEXT, place.limit)
            right = ["x", "x" * most, "💥" * most, "\u2028\x01\ufffe"]
            wrong = ["", "x" * (most + 1), "💥" * (most + 1), "a\0b", "\ud83d", "a\udca5b", 7, ["x"], {"x": "x"}]
        case "Int" if place.field == "expectedVersion":
            right = [INT_MIN, 0, INT_MAX]
            wrong = [INT_MIN - 1, INT_MAX + 1, "1"]
        case "Int" | "Float":
            least, most = numbers(NUMBER, place.limit)
            right = [least, most]
            wrong = [least - 1, most + 1, 2**40, 10**400, float("inf"), "1", True, [2], 1e308]
            wrong += [0.5] if place.type_name == "Int" else [most + 1e-6, least - 1e-6]
            wrong += [0] if "not 0" in place.limit else []
        case "[]":
            (most,) = numbers(ITEMS, place.limit)
            item = FULL["updateVideoData"][place.field][0]
            right = [[], [item], most * [item]]
            wrong = [(most + 1) * [item], "x", 7]
        case "URL":
            right = [URL]
            wrong = ["", "x", "http://example.com/", "javascript:alert(1)", "https://a b", 7, [URL, URL], {}]
        case "JSON":
            right = [{}, [], "", 0, False, None, 1.5, {"": [None]}]
            wrong = ["\0", ["\ud83d"], {"a": {"b\0": 1}}, float("-inf")]
        case "Boolean":
            right = [True, False]
            wrong = ["true", 1, [True], {}]
        case "VideoStatus" | "AdjustmentKind":
            wrong = ["", "queued", 7, "SIGNUP", "QUEUED\0", True]
        case "ID":
            wrong = [True, 1.5, [None], {}]
        case _:
            raise AssertionError(place.type_name)
    return right, wrong


@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_every_input_field_at_its_limit_and_beyond(api: Api, mutation: str) -> None:
    """A value at the limit is accepted; one beyond it, or of another kind, is bad input that names the field."""
    user_id = await api.register("ann", credits=CREDITS_MAX // 2)
    video_id = await api.video()
    surprises = []
    for place in PLACES[mutation]:
        right, wrong = samples(place)
        for number, value in enumerate(right + wrong):
            full = copy.deepcopy(FULL[mutation])
            ids = {"userId": user_id, "recordId": video_id, "idempotencyKey": f"{place} {number}"}
            full |= {name: id_ for name, id_ in ids.items() if name in full}
            body = await api.post(
                MUTATIONS[mutation], {"input": place.put(full, value)}, subject="ann", role=Role.ADMIN
            )
            (error,) = body.get("errors", [None])
            if number < len(right):
                expected = error is None
            else:
                fields = error and [each["field"] for each in error["extensions"].get("fields", [])]
                named = fields == [place.field] or f" at .{place}:" in error["message"]
                expected = named and error["extensions"]["code"] == "BAD_USER_INPUT"
            if not expected:
                surprises.append((str(place), repr(value)[:50], repr(body)[:500]))
    assert surprises == []


async def test_all_violations_are_reported_at_once(api: Api) -> None:
    """The refusal of an input lists every field beyond its limit, in order."""
    document = MUTATIONS["createVideoData"]
    given = {"title": "", "videoStyle": "x" * 256, "idempotencyKey": "a\0b", "topic": "fine"}
    (error,) = (await api.post(document, {"input": given}, subject="ann"))["errors"]
    assert error["extensions"]["fields"] == [
        {"field": "title", "message": "must have 1 to 500 characters, and has 0"},
        {"field": "videoStyle", "message": "must have 1 to 255 characters, and has 256"},
        {"field": "idempotencyKey", "message": "holds the character NUL, which cannot be stored"},
    ]
    assert error["message"].startswith("`title` must have 1 to 500 characters, and has 0. `videoStyle` must")
    assert error["path"] == ["createVideoData"]


async def test_literals_have_the_same_limits(api: Api) -> None:
    """Literals in a document have the same limits as variables."""
    await api.register()
    literals = {
        f'title: "{"x" * 501}"': "`title`",
        'title: "a\\u0000b"': "`title`",
        'title: ""': "`title`",
        'voice: {voiceId: "", name: "Ada"}': "`voiceId`",
        f"caption: {33 * '['}{33 * ']'}": "32 levels",
        f"caption: {{a: {10**20}, b: 1e999}}": "not finite",
        f"caption: {'9' * 5_000}": "not finite",
        'caption: {a: "\\u0000"}': "NUL",
        "caption: {a: $missing}": "$missing",
    }
    for literal, message in literals.items():
        more = ", ".join(
            given for given in ('title: "T"', 'videoStyle: "S"', 'idempotencyKey: "K"') if given[:5] != literal[:5]
        )
        document = f"mutation {{ createVideoData(input: {{{literal}, {more}}}) {{ __typename }} }}"
        (error,) = (await api.post(document, subject="ann"))["errors"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT", literal[:50]
        assert message in error["message"], literal[:50]


async def test_the_number_of_ids(api: Api) -> None:
    """`nodes` accepts as many ids as its description says, and no more."""
    document = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    assert (await api.query(document, ids=["x"] * NODES_MAX))["nodes"] == [None] * NODES_MAX
    (error,) = (await api.post(document, {"ids": ["x"] * (NODES_MAX + 1)}, subject="ann"))["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "`ids` must have at most 100" in error["message"]


async def test_the_number_of_statuses(api: Api) -> None:
    """A filter may name each status once."""
    await api.register()
    document = "query($status: [VideoStatus!]) { viewer { videos(filter: {status: $status}) { nodes { id } } } }"
    assert (await api.query(document, status=11 * ["FAILED"]))["viewer"]["videos"]["nodes"] == []
    body = await api.post(document, {"status": 12 * ["FAILED"]}, subject="ann")
    (error,) = body["errors"]
    assert error["extensions"]["fields"] == [{"field": "status", "message": "must have at most 11, and has 12"}]
