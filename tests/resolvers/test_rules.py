"""Authorization: every root field, for each role, on the caller's own row and on another user's."""

import json
from dataclasses import dataclass
from uuid import uuid4

import pytest
from graphql import GraphQLObjectType

from resolvers.identity import Identity, Role
from resolvers.rules import RULES
from schema.node import EntryKey, EventKey, Key, UserKey, VideoKey, decode_id, encode_id
from server.operations.root_fields import build_schema
from tests.api import Api, headers

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

OWN, ANY, FORBIDDEN = "own", "any", "forbidden"


@dataclass(frozen=True)
class Case:
    """A root field as it is called, the kind of row it is called on if any, and whose rows each role reaches."""

    call: str
    row: str | None
    user: str
    worker: str
    admin: str

    @property
    def field(self) -> str:
        return self.call.partition("(")[0]

    def reach(self, role: Role) -> str:
        return {Role.USER: self.user, Role.WORKER: self.worker, Role.ADMIN: self.admin}[role]

    def __str__(self) -> str:
        return f"{self.field}-{self.row}"


# Repeats the rules on purpose, so that nobody changes one by accident.
CASES = [
    Case("viewer", None, ANY, FORBIDDEN, ANY),
    Case("user(id: $id)", "user", OWN, ANY, ANY),
    Case("users", None, FORBIDDEN, FORBIDDEN, ANY),
    Case("videoData(id: $id)", "video", OWN, ANY, ANY),
    Case("videos", None, FORBIDDEN, FORBIDDEN, ANY),
    Case("renderQueue", None, FORBIDDEN, ANY, ANY),
    Case("videoDataStats", None, FORBIDDEN, FORBIDDEN, ANY),
    *(Case(call, "user", OWN, ANY, ANY) for call in ("node(id: $id)", "nodes(ids: [$id])")),
    *(Case(call, "entry", OWN, ANY, ANY) for call in ("node(id: $id)", "nodes(ids: [$id])")),
    *(Case(call, "video", OWN, ANY, ANY) for call in ("node(id: $id)", "nodes(ids: [$id])")),
    *(Case(call, "event", OWN, ANY, ANY) for call in ("node(id: $id)", "nodes(ids: [$id])")),
    Case("viewerUpdated", None, ANY, FORBIDDEN, ANY),
    Case("videoDataUpdated(id: $id)", "video", OWN, ANY, ANY),
    Case("videosUpdated", None, ANY, FORBIDDEN, ANY),
    Case('creditEntryAdded(after: "YwAAAAAAAAAA")', None, ANY, FORBIDDEN, ANY),
    Case("registerUser(input: {})", None, ANY, FORBIDDEN, ANY),
    Case(
        'adjustUserCredits(input: {userId: $id, kind: REWARD, amount: 1, idempotencyKey: "key"})',
        "user",
        FORBIDDEN,
        FORBIDDEN,
        ANY,
    ),
    Case('createVideoData(input: {title: "T", videoStyle: "S", idempotencyKey: "key"})', None, ANY, FORBIDDEN, ANY),
    Case(
        'createVideoData(input: {userId: $id, title: "T", videoStyle: "S", idempotencyKey: "key"})',
        "user",
        OWN,
        FORBIDDEN,
        ANY,
    ),
    Case("updateVideoRecordStatus(input: {recordId: $id, status: FAILED})", "video", FORBIDDEN, ANY, ANY),
    Case('updateVideoData(input: {recordId: $id, script: "mine"})', "video", OWN, ANY, ANY),
    Case("cancelVideoData(input: {recordId: $id})", "video", OWN, FORBIDDEN, ANY),
    Case('retryVideoData(input: {recordId: $id, idempotencyKey: "key"})', "video", OWN, FORBIDDEN, ANY),
    Case("trashVideoData(input: {recordId: $id})", "video", OWN, FORBIDDEN, ANY),
    Case("restoreVideoData(input: {recordId: $id})", "video", OWN, FORBIDDEN, ANY),
]


def roots() -> dict[str, GraphQLObjectType]:
    """Return every root field in the schema with its root type."""
    types = build_schema()._schema  # noqa: SLF001 - Strawberry shows graphql-core's own schema nowhere else.
    each = [types.query_type, types.mutation_type, types.subscription_type]
    return {field: root for root in each if root for field in root.fields}


ROOTS = roots()


def test_every_root_field_has_its_rule_and_its_case() -> None:
    """The table of rules and this test's table have an entry for each root field, and no others."""
    assert set(RULES) == set(ROOTS)
    assert {case.field for case in CASES} == set(ROOTS)


@pytest.mark.parametrize("field", ROOTS)
def test_every_root_field_that_takes_an_id_is_tried_on_rows(field: str) -> None:
    """A root field that takes an object's id, as an argument or in its input, has a case with a row."""
    arguments = [argument.type for argument in ROOTS[field].fields[field].args.values()]
    parts = [
        part.type for type_ in arguments for part in getattr(getattr(type_, "of_type", None), "fields", {}).values()
    ]
    takes_id = any(str(type_).strip("[]!") == "ID" for type_ in [*arguments, *parts])
    assert any(case.row for case in CASES if case.field == field) is takes_id


async def send(api: Api, case: Case, row: str, subject: str | None, role: Role = Role.USER) -> bytes:
    """Call a root field on a row, and return the raw response."""
    operation = ROOTS[case.field].name.lower()
    fields = "__typename ... on Error { code message }" if operation == "mutation" else "__typename"
    variables = "($id: ID!)" if case.row else ""
    document = f"{operation}{variables} {{ result: {case.call} {{ {fields} }} }}"
    if operation == "subscription":
        return json.dumps(await api.first(document, {"id": row}, subject=subject, role=role)).encode()
    content = json.dumps({"query": document, "variables": {"id": row}})
    request = {"Content-Type": "application/json", **headers(subject, role)}
    return (await api.client.post("/graphql", content=content, headers=request)).content


def outcome(response: bytes) -> str:
    """Return whether a response shows its row, hides it, or which error code it has."""
    body = json.loads(response)
    if "errors" in body:
        (error,) = body["errors"]
        code: str = error["extensions"]["code"]
        return code
    result = body["data"]["result"]
    result = result[0] if isinstance(result, list) else result
    return "hidden" if result is None or result["__typename"].endswith("NotFound") else "seen"


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_reach(api: Api, case: Case) -> None:
    """Each role reaches the rows that its rule allows; any other row looks like one that does not exist."""
    rows: dict[str, dict[str, str]] = {}
    for subject in ("ann", "bob"):
        user_id, video_id = await api.register(subject), await api.video(subject, subject=subject)
        user, video = decode_id(user_id), decode_id(video_id)
        assert isinstance(user, UserKey)
        assert isinstance(video, VideoKey)
        keys: dict[str, Key] = {"user": user, "video": video, "entry": EntryKey(*user, 1), "event": EventKey(*video, 1)}
        rows[subject] = {kind: encode_id(key) for kind, key in keys.items()}
    owner, video_id_of_nothing = Identity("nobody", Role.USER).user_id, uuid4()
    nothing: dict[str, Key] = {
        "user": UserKey(owner),
        "video": VideoKey(owner, video_id_of_nothing),
        "entry": EntryKey(owner, 1),
        "event": EventKey(owner, video_id_of_nothing, 1),
    }
    row = case.row or "user"
    own, others, unknown = rows["ann"][row], rows["bob"][row], encode_id(nothing[row])
    for each in (own, others, unknown, "nonsense"):
        assert outcome(await send(api, case, each, None)) == "UNAUTHENTICATED"
    for role in Role:
        reach = case.reach(role)
        answers = [await send(api, case, each, "ann", role) for each in (own, others, unknown)]
        if reach == FORBIDDEN:
            assert [outcome(answer) for answer in answers] == 3 * ["FORBIDDEN"]
        elif case.row is None:
            assert [outcome(answer) for answer in answers] == 3 * ["seen"]
        else:
            seen = {OWN: ["seen", "hidden"], ANY: ["seen", "seen"]}[reach]
            assert [outcome(answer) for answer in answers] == [*seen, "hidden"]
            assert len({answer for answer in answers if outcome(answer) == "hidden"}) == 1


async def test_the_viewer_and_the_new_video_are_the_callers(api: Api) -> None:
    """A field without an id acts on the caller, whatever other users exist."""
    ann, bob = await api.register("ann"), await api.register("bob")
    for subject, user_id in (("ann", ann), ("bob", bob)):
        assert (await api.query("{ viewer { id } }", subject=subject))["viewer"]["id"] == user_id
        assert (await api.create("key", subject=subject))["user"]["id"] == user_id
        assert (await api.mutate("registerUser", subject=subject))["user"]["id"] == user_id


async def test_a_forbidden_field_names_itself_and_the_role(api: Api) -> None:
    """FORBIDDEN names the role and the field, by the field's own name rather than its alias."""
    body = await api.post("{ viewer: users { nodes { id } } }", subject="ann")
    (error,) = body["errors"]
    assert error["message"] == "`users` is not for the role USER."
    assert error["path"] == ["viewer"]
    assert body["data"] is None


async def test_an_allowed_field_beside_a_forbidden_one_is_answered(api: Api) -> None:
    """A nullable field is answered although another field of the document is forbidden."""
    await api.register()
    document = "mutation { registerUser(input: {}) { __typename } }"
    body = await api.post("query { viewer { id } node(id: 1) { id } }", subject="ann", role=Role.WORKER)
    assert [error["extensions"]["code"] for error in body["errors"]] == ["FORBIDDEN"]
    assert body["data"] == {"viewer": None, "node": None}
    assert (await api.post(document, subject="ann", role=Role.WORKER))["data"] is None
