"""Tokens that prove nothing, and other users' ids, on every root field: generated from the schema, over HTTP."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from time import time
from typing import Any
from uuid import uuid4

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from graphql import GraphQLID, GraphQLInputObjectType, GraphQLObjectType, get_named_type

from db.database import Database
from resolvers.identity import Identity, Role
from resolvers.rules import OWN, RULES
from schema.node import EntryKey, EventKey, Key, UserKey, VideoKey, decode_id, encode_id
from server.auth.tokens import AUTHORIZATION_CHARACTERS_MAX
from tests.api import SECRET, Api, headers, serving
from tests.calls import OPERATIONS, SCHEMA, Call, calls
from tests.rows import every_row
from tests.server.auth.test_jwks import OTHER_RSA, Provider, provider
from tests.server.auth.test_tokens import AUDIENCE, ISSUER, RSA

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

__all__ = ["provider"]  # A fixture, which pytest finds here.


def unknown_ids() -> dict[str, str]:
    """Return ids of each type that belong to nobody."""
    owner = Identity("nobody", Role.USER).user_id
    return ids(UserKey(owner), VideoKey(owner, uuid4()))


def ids(user: UserKey, video: VideoKey) -> dict[str, str]:
    keys: dict[str, Key] = {
        "user": user,
        "video": video,
        "entry": EntryKey(*user, 1),
        "event": EventKey(*video, 1),
    }
    return {kind: encode_id(key) for kind, key in keys.items()}


async def known_ids(api: Api, subject: str) -> dict[str, str]:
    """Register a user with a video, and return the ids of all their objects."""
    user, video = decode_id(await api.register(subject)), decode_id(await api.video(subject, subject=subject))
    assert isinstance(user, UserKey)
    assert isinstance(video, VideoKey)
    return ids(user, video)


async def send(api: Api, call: Call, variables: dict[str, Any], signed: Iterable[tuple[str, str]]) -> httpx2.Response:
    content = json.dumps({"query": call.document, "variables": variables})
    return await api.client.post("/graphql", content=content, headers=[("Content-Type", "application/json"), *signed])


def without_error_id(response: httpx2.Response) -> dict[str, Any]:
    """Return what a response says, without its request's id."""
    body: dict[str, Any] = response.json()
    for error in body.get("errors", []):
        assert error["extensions"].pop("errorId") == response.headers["X-Request-Id"]
    return body


def claims(**changed: Any) -> dict[str, Any]:
    """Claims of Ann as an administrator, with changes; None removes one."""
    right = {"sub": "ann", "aud": "videocredits", "iss": "videocredits", "exp": int(time()) + 600, "role": "ADMIN"}
    return {name: value for name, value in (right | changed).items() if value is not None}


def signed(algorithm: str = "HS256", secret: str = SECRET, **changed: Any) -> str:
    return jwt.encode(claims(**changed), secret, algorithm)


def bearer(token: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {token}")]


def by_hand(header: dict[str, Any], payload: dict[str, Any], secret: bytes) -> str:
    """Sign as a forger would, with a library that checks nothing."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload)]
    signature = base64.urlsafe_b64encode(hmac.digest(secret, b".".join(parts), hashlib.sha256)).rstrip(b"=")
    return b".".join([*parts, signature]).decode()


RSA_PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
RSA_DER = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

# Built when they are sent, since they contain a time.
WRONG: dict[str, tuple[str, Callable[[], list[tuple[str, str]]]]] = {
    "expired": ("EXPIRED", lambda: bearer(signed(exp=int(time()) - 60))),
    "not yet valid": ("NOT_YET_VALID", lambda: bearer(signed(nbf=int(time()) + 60))),
    "issued in the future": ("NOT_YET_VALID", lambda: bearer(signed(iat=int(time()) + 60))),
    "forged": ("BAD_SIGNATURE", lambda: bearer(signed(secret=SECRET[::-1]))),
    "without its signature": ("BAD_SIGNATURE", lambda: bearer(signed().rpartition(".")[0] + ".")),
    "with another's payload": (
        "BAD_SIGNATURE",
        lambda: bearer(".".join([*signed(role="ADMIN").split(".")[:2], signed(role="USER").split(".")[2]])),
    ),
    "of another audience": ("WRONG_AUDIENCE", lambda: bearer(signed(aud="elsewhere"))),
    "of an audience by another's beginning": ("WRONG_AUDIENCE", lambda: bearer(signed(aud=["videocredits-test"]))),
    "of another issuer": ("WRONG_ISSUER", lambda: bearer(signed(iss="https://videocredits"))),
    "of alg none": ("ALGORITHM_NOT_ALLOWED", lambda: bearer(jwt.encode(claims(), "", "none"))),
    "of alg NONE, signed": ("ALGORITHM_NOT_ALLOWED", lambda: bearer(by_hand({"alg": "NONE"}, claims(), b""))),
    "of alg hs256": ("ALGORITHM_NOT_ALLOWED", lambda: bearer(by_hand({"alg": "hs256"}, claims(), SECRET.encode()))),
    "of HS512": ("ALGORITHM_NOT_ALLOWED", lambda: bearer(signed("HS512", SECRET * 2))),
    "of RS256": ("ALGORITHM_NOT_ALLOWED", lambda: bearer(jwt.encode(claims(), RSA, "RS256"))),
    "that brings its own key": (
        "ALGORITHM_NOT_ALLOWED",
        lambda: bearer(jwt.encode(claims(), RSA, "RS256", {"jku": "https://evil.example/keys", "jwk": {"kty": "RSA"}})),
    ),
    "without exp": ("MISSING_CLAIM", lambda: bearer(signed(exp=None))),
    "without aud": ("MISSING_CLAIM", lambda: bearer(signed(aud=None))),
    "without iss": ("MISSING_CLAIM", lambda: bearer(signed(iss=None))),
    "without sub": ("MISSING_CLAIM", lambda: bearer(signed(sub=None))),
    "without a role": ("MISSING_CLAIM", lambda: bearer(signed(role=None))),
    "of an unknown role": ("UNKNOWN_ROLE", lambda: bearer(signed(role="ROOT"))),
    "of two roles": ("UNKNOWN_ROLE", lambda: bearer(signed(role="USER ADMIN"))),
    "of a list of roles": ("UNKNOWN_ROLE", lambda: bearer(signed(role=["ADMIN"]))),
    "of nobody": ("INVALID_SUBJECT", lambda: bearer(signed(sub=""))),
    "of a subject that is no text": ("INVALID_SUBJECT", lambda: bearer(signed(sub={"name": "ann"}))),
    "too long": ("MALFORMED", lambda: bearer(signed(padding="x" * AUTHORIZATION_CHARACTERS_MAX))),
    "empty": ("MALFORMED", lambda: [("Authorization", "")]),
    "no token": ("MALFORMED", lambda: bearer("undefined")),
    "of another scheme": ("MALFORMED", lambda: [("Authorization", f"Token {signed()}")]),
    "of no scheme": ("MALFORMED", lambda: [("Authorization", signed())]),
    "in Basic": ("MALFORMED", lambda: [("Authorization", "Basic " + base64.b64encode(b"ann:secret").decode())]),
    "twice": ("MALFORMED", lambda: bearer(signed()) * 2),
    "beside another": ("MALFORMED", lambda: [*bearer(signed()), *bearer(signed(sub="bob"))]),
    "beside nothing": ("MALFORMED", lambda: [*bearer(signed()), ("Authorization", "")]),
    "twice in one header": ("MALFORMED", lambda: bearer(f"{signed()}, Bearer {signed()}")),
    "with a tail": ("MALFORMED", lambda: bearer(f"{signed()},")),
    "in pieces": ("MALFORMED", lambda: bearer(signed().replace(".", ".\t"))),
}


async def refused_everywhere(
    api: Api, database: Database, reason: str, token: Callable[[], list[tuple[str, str]]]
) -> None:
    """Call every root field, on an existing row and an unknown one: always 401 with the reason, and nothing more."""
    known, unknown = await known_ids(api, "bob"), unknown_ids()["user"]
    before = await every_row(database)
    for call in calls(unknown, whole=True):
        answers = []
        chosen = [call.with_id(path, row_id) for path in call.ids for row_id in known.values()]
        for variables in [call.variables, *chosen]:
            response = await send(api, call, variables, token())
            assert response.status_code == 401, call
            assert response.headers["WWW-Authenticate"].startswith("Bearer "), call
            assert "json" in response.headers["Content-Type"], call
            answers.append(without_error_id(response))
        (error,) = answers[0].pop("errors")
        assert (answers[0], error["extensions"]) == ({}, {"code": "UNAUTHENTICATED", "reason": reason}), call
        assert error.keys() == {"message", "extensions"}
        assert all(answer == {"errors": [error]} for answer in answers[1:]), call
    assert await every_row(database) == before


@pytest.mark.parametrize("wrong", WRONG)
async def test_an_invalid_token_is_refused_everywhere(api: Api, database: Database, wrong: str) -> None:
    """With an invalid token, every root field is 401 with the reason, whether or not the row exists."""
    await refused_everywhere(api, database, *WRONG[wrong])


PROVIDERS_CLAIMS = {"aud": AUDIENCE, "iss": ISSUER}
CONFUSED: dict[str, tuple[str, Callable[[], list[tuple[str, str]]]]] = {
    "HS256 with the public key": (
        "ALGORITHM_NOT_ALLOWED",
        lambda: bearer(by_hand({"alg": "HS256", "kid": "1"}, claims(**PROVIDERS_CLAIMS), RSA_PEM)),
    ),
    "HS256 with the public key's bytes": (
        "ALGORITHM_NOT_ALLOWED",
        lambda: bearer(by_hand({"alg": "HS256", "kid": "1"}, claims(**PROVIDERS_CLAIMS), RSA_DER)),
    ),
    "RS256 in name, HS256 in truth": (
        "BAD_SIGNATURE",
        lambda: bearer(by_hand({"alg": "RS256", "kid": "1"}, claims(**PROVIDERS_CLAIMS), RSA_PEM)),
    ),
    "alg none": (
        "ALGORITHM_NOT_ALLOWED",
        lambda: bearer(jwt.encode(claims(**PROVIDERS_CLAIMS), "", "none", {"kid": "1"})),
    ),
    "ES256 for an RSA key": (
        "ALGORITHM_NOT_ALLOWED",
        lambda: bearer(by_hand({"alg": "ES256", "kid": "1"}, claims(**PROVIDERS_CLAIMS), b"")),
    ),
    "another RSA key": (
        "BAD_SIGNATURE",
        lambda: bearer(jwt.encode(claims(**PROVIDERS_CLAIMS), OTHER_RSA, "RS256", {"kid": "1"})),
    ),
    "a key that is not published": (
        "UNKNOWN_KEY",
        lambda: bearer(jwt.encode(claims(**PROVIDERS_CLAIMS), OTHER_RSA, "RS256", {"kid": "2"})),
    ),
    "another audience": (
        "WRONG_AUDIENCE",
        lambda: bearer(jwt.encode(claims(iss=ISSUER), RSA, "RS256", {"kid": "1"})),
    ),
}


@pytest.mark.parametrize("wrong", CONFUSED)
async def test_a_key_verifies_only_its_own_algorithm(dsn: str, provider: Provider, wrong: str) -> None:
    """With an identity provider's keys, tokens with any other algorithm are refused, even HS256 with the public key."""
    provider.publish(**{"1": RSA})
    viewer = next(call for call in calls("user_x", whole=False) if call.field == "viewer")
    async with serving(dsn, replace(provider.settings, log_level="warning")) as api:
        right = jwt.encode(claims(**PROVIDERS_CLAIMS), RSA, "RS256", {"kid": "1"})
        assert without_error_id(await send(api, viewer, {}, bearer(right))) == {"data": {"viewer": None}}
        reason, token = CONFUSED[wrong]
        response = await send(api, viewer, {}, token())
        assert response.status_code == 401
        body = without_error_id(response)
        assert body.keys() == {"errors"}
        assert body["errors"][0]["extensions"] == {"code": "UNAUTHENTICATED", "reason": reason}


async def test_spellings_of_a_valid_token(api: Api) -> None:
    """The scheme may be in any case, with several spaces; the role in upper or lower case."""
    user_id = await api.register("ann")
    for authorization in (f"bearer {signed()}", f"BEARER {signed()}", f"Bearer   {signed(role='user')} "):
        content = {"query": "{ viewer { id } }"}
        response = await api.client.post("/graphql", json=content, headers={"Authorization": authorization})
        assert response.json() == {"data": {"viewer": {"id": user_id}}}


def test_every_argument_that_takes_an_id_is_found() -> None:
    """These tests reach every argument that takes an ID, however deep in an input."""
    nested = {
        f"{type_.name}.{name}"
        for type_ in SCHEMA.type_map.values()
        if isinstance(type_, GraphQLObjectType) and type_ not in OPERATIONS.values() and not type_.name.startswith("__")
        for name, field in type_.fields.items()
        if any(get_named_type(each.type) is GraphQLID for each in field.args.values())
    }
    assert nested == set()
    inputs = {
        f"{type_.name}.{name}"
        for type_ in SCHEMA.type_map.values()
        if isinstance(type_, GraphQLInputObjectType)
        for name, field in type_.fields.items()
        if get_named_type(field.type) is GraphQLID
    }
    tried = [call for call in calls("user_x", whole=True) for path in call.ids if path[0] == "input"]
    assert len(tried) == len(inputs)


@pytest.mark.parametrize("whole", [False, True])
async def test_others_ids_look_unknown(api: Api, database: Database, whole: bool) -> None:
    """For a role that reaches only its own rows, another user's id gets the same answer as an unknown one.

    This holds for each argument that takes an id; nothing of the other user's changes or is revealed.
    """
    await known_ids(api, "ann")
    others, unknown = await known_ids(api, "bob"), unknown_ids()
    before = await every_row(database)
    tried = 0
    for call in calls(unknown["user"], whole=whole):
        for role in Role:
            if RULES[call.field].get(role, OWN) is not OWN:
                continue
            for path in call.ids:
                for kind, row_id in others.items():
                    tried += 1
                    nothing = await send(api, call, call.with_id(path, unknown[kind]), headers("ann", role).items())
                    theirs = await send(api, call, call.with_id(path, row_id), headers("ann", role).items())
                    assert without_error_id(theirs) == without_error_id(nothing), (call, path, kind, role)
                    assert theirs.status_code == nothing.status_code
    assert tried > 50
    assert await every_row(database) == before


async def test_others_cursors_reveal_nothing(api: Api) -> None:
    """A cursor from another user's list shows none of their rows, in any list."""
    await known_ids(api, "ann")
    await known_ids(api, "bob")
    lists = """
      videos(first: 100, after: $videos) { nodes { user { id } } }
      creditEntries(first: 100, after: $entries) { nodes { user { id } } }"""
    ends = "{ viewer { id videos { pageInfo { endCursor } } creditEntries { pageInfo { endCursor } } } }"
    bob = (await api.query(ends, subject="bob"))["viewer"]
    cursors = {
        "videos": bob["videos"]["pageInfo"]["endCursor"],
        "entries": bob["creditEntries"]["pageInfo"]["endCursor"],
    }
    document = f"query($videos: String, $entries: String) {{ viewer {{ {lists} }} }}"
    viewer = (await api.query(document, subject="ann", **cursors))["viewer"]
    shown = [node["user"]["id"] for part in viewer.values() for node in part["nodes"]]
    assert bob["id"] not in shown
