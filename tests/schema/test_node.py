"""Ids: each object has exactly one spelling, and any other text is nobody's id."""

from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resolvers.identity import Role
from schema.node import EntryKey, EventKey, Key, UserKey, VideoKey, decode_id, encode_id
from tests.api import Api
from tests.schema.test_limits import FULL

UUIDS = st.uuids()
KEYS: st.SearchStrategy[Key] = st.one_of(
    st.builds(UserKey, UUIDS),
    st.builds(VideoKey, UUIDS, UUIDS),
    st.builds(EntryKey, UUIDS, st.integers(0, 2**63 - 1)),
    st.builds(EventKey, UUIDS, UUIDS, st.integers(0, 2**31 - 1)),
)
# Text that resembles an id, and text that does not.
TEXTS = st.one_of(
    st.text(st.characters(codec=None), max_size=80),
    st.from_regex(r"(user|video|entry|event|User|)_?[A-Za-z0-9_=+/-]{0,60}\n?", fullmatch=True),
    KEYS.map(encode_id).flatmap(
        lambda whole: st.builds(
            lambda at, put: whole[:at] + put + whole[at:], st.integers(0, len(whole)), st.text(max_size=2)
        )
    ),
)
A = UUID("f6512c40-fb10-420d-8536-ed5e675f4716")


@given(KEYS)
def test_an_id_contains_its_key(key: Key) -> None:
    """Every key's id decodes to that key, and is short enough for a URL's path."""
    id_ = encode_id(key)
    assert decode_id(id_) == key
    assert len(id_) <= 64
    assert id_.isascii()


@given(KEYS, KEYS)
def test_different_keys_have_different_ids(one: Key, other: Key) -> None:
    """Different keys have different ids, across types too."""
    assert (encode_id(one) == encode_id(other)) is (type(one) is type(other) and one == other)


@given(TEXTS)
def test_an_id_has_one_spelling(text: str) -> None:
    """Only an id's one spelling decodes; any other text is refused without an exception."""
    key = decode_id(text)
    assert key is None or encode_id(key) == text


def test_ids_are_stable() -> None:
    """Clients store ids, so their spelling never changes."""
    assert encode_id(UserKey(A)) == "user_9lEsQPsQQg2FNu1eZ19HFg"
    assert encode_id(VideoKey(A, A)) == "video_9lEsQPsQQg2FNu1eZ19HFvZRLED7EEINhTbtXmdfRxY"
    assert encode_id(EntryKey(A, 258)) == "entry_9lEsQPsQQg2FNu1eZ19HFgAAAAAAAAEC"
    assert encode_id(EventKey(A, A, 258)) == "event_9lEsQPsQQg2FNu1eZ19HFvZRLED7EEINhTbtXmdfRxYAAAEC"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "user",
        "user_",
        "_9lEsQPsQQg2FNu1eZ19HFg",
        "9lEsQPsQQg2FNu1eZ19HFg",
        "User_9lEsQPsQQg2FNu1eZ19HFg",
        "user_9lEsQPsQQg2FNu1eZ19HFg==",
        "user_9lEsQPsQQg2FNu1eZ19HFh",  # The last character's unused bits are set.
        "user_9lEsQPsQQg2FNu1eZ19HFg\n",
        " user_9lEsQPsQQg2FNu1eZ19HFg",
        "user_9lEsQPsQQg2FNu1eZ19HF",
        "video_9lEsQPsQQg2FNu1eZ19HFg",
        "user_" + "A" * 1_000_000,
        "user_\ud83d",
        "usér_9lEsQPsQQg2FNu1eZ19HFg",
        str(A),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_invalid_ids(text: str) -> None:
    """Another spelling of an id, a part of one, and another type's prefix are all invalid."""
    assert decode_id("user_9lEsQPsQQg2FNu1eZ19HFg") == UserKey(A)
    assert decode_id(text) is None


async def test_every_object_is_found_by_its_id(api: Api) -> None:
    """Every object is found by its id, with its type, alone and among others in the requested order."""
    user_id = await api.register()
    created = await api.create("key")
    document = "query($id: ID!) { videoData(id: $id) { events { nodes { id } } } }"
    events = (await api.query(document, id=created["videoData"]["id"]))["videoData"]["events"]["nodes"]
    ids = [user_id, created["videoData"]["id"], created["entry"]["id"], events[0]["id"]]
    types = ["User", "VideoData", "CreditEntry", "VideoEvent"]
    node = "query($id: ID!) { node(id: $id) { __typename id ... on CreditEntry { user { id } videoData { id } } } }"
    for id_, type_ in zip(ids, types, strict=True):
        found = (await api.query(node, id=id_))["node"]
        assert (found["id"], found["__typename"]) == (id_, type_)
    nodes = "query($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"
    asked = [ids[3], "nonsense", ids[0], ids[0], ids[2], encode_id(VideoKey(A, uuid4())), ids[1]]
    found = (await api.query(nodes, ids=asked))["nodes"]
    assert [each and each["id"] for each in found] == [ids[3], None, ids[0], ids[0], ids[2], None, ids[1]]


async def test_an_unknown_id_is_null(api: Api) -> None:
    """A valid id without an object is null: an unknown user or video, or a number outside the ledger."""
    user_id = await api.register()
    user, video = decode_id(user_id), decode_id(await api.video())
    assert isinstance(user, UserKey)
    assert isinstance(video, VideoKey)
    unknown: list[Key] = [UserKey(A), VideoKey(*user, A), VideoKey(A, A), EventKey(A, A, 1), EntryKey(A, 1)]
    unknown += [EntryKey(*user, number) for number in (-(2**63), -1, 0, 3, 2**63 - 1)]
    unknown += [EventKey(*video, number) for number in (-(2**31), -1, 0, 2, 2**31 - 1)]
    document = "query($ids: [ID!]!) { nodes(ids: $ids) { id } }"
    ids = [encode_id(key) for key in unknown]
    found = await api.query(document, subject="root", role=Role.ADMIN, ids=ids)
    assert found["nodes"] == [None] * len(ids)


RECORD_MUTATIONS = {
    name: {field: value or "key" if field == "idempotencyKey" else value for field, value in given.items()}
    for name, given in FULL.items()
    if "recordId" in given
}


# All examples share one database, which stays empty.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
async def test_any_text_as_an_id(api: Api, text: str) -> None:
    """Any text as an id, in any argument that takes one, finds nothing and causes no fault."""
    queries = """query($id: ID!) {
      node(id: $id) { id } nodes(ids: [$id, $id]) { id } user(id: $id) { id } videoData(id: $id) { id }
    }"""
    body = await api.post(queries, {"id": text}, subject="root", role=Role.ADMIN)
    assert body == {"data": {"node": None, "nodes": [None, None], "user": None, "videoData": None}}
    for mutation, more in RECORD_MUTATIONS.items():
        refused = await api.mutate(mutation, subject="root", role=Role.ADMIN, **more | {"recordId": text})
        assert refused["__typename"] == "VideoDataNotFound"
    assert (await api.adjust(text, 1, "key"))["__typename"] == "UserNotFound"
    created = await api.mutate(
        "createVideoData", subject="root", role=Role.ADMIN, userId=text, title="T", videoStyle="S", idempotencyKey="K"
    )
    assert created["__typename"] == "UserNotFound"
