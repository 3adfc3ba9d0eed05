"""Which tokens are valid, and why others are refused."""

import asyncio
import base64
import hashlib
import hmac
import json
from pathlib import Path
from time import time
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

import server.auth.jwks
import server.auth.tokens
from resolvers.identity import Identity, Role
from server.auth.tokens import InvalidToken, Reason, TokenVerifier, mint_token
from server.process.settings import Settings, development_secret

SECRET = "0123456789abcdef0123456789abcdef"
SETTINGS = Settings(jwt_secret=SECRET)
ISSUER, AUDIENCE = "https://id.example.com/", "our-app"
RSA = rsa.generate_private_key(65537, 2048)


def claims(**changed: Any) -> dict[str, Any]:
    """Claims that these tests' verifiers accept, with changes; None removes one."""
    right = {"sub": "ada", "aud": "videocredits", "iss": "videocredits", "exp": int(time()) + 600, "role": "USER"}
    return {name: value for name, value in (right | changed).items() if value is not None}


def bearer(payload: dict[str, Any], secret: str = SECRET, algorithm: str = "HS256") -> str:
    return f"Bearer {jwt.encode(payload, secret, algorithm)}"


async def refusal(verifier: TokenVerifier, authorization: str) -> InvalidToken:
    with pytest.raises(InvalidToken) as caught:
        await verifier.prove(authorization)
    assert caught.value.code == "UNAUTHENTICATED"
    assert caught.value.message == str(caught.value)
    assert caught.value.message.endswith(".")
    return caught.value


@pytest.mark.parametrize("role", Role)
async def test_a_minted_token(role: Role) -> None:
    """A minted token proves its subject and role; the scheme may be in any case."""
    token = mint_token(
        SECRET,
        role=role,
        subject="rendér 1",
        audience="videocredits",
        issuer="videocredits",
        role_claim="role",
        expires_in_seconds=60,
    )
    verifier = TokenVerifier(SETTINGS)
    for authorization in (f"Bearer {token}", f"bearer  {token} "):
        assert (await verifier.prove(authorization)).identity == Identity("rendér 1", role)


async def test_development_keys(tmp_path: Path) -> None:
    """Without keys in the settings, the data directory's own secret signs tokens, and no other does."""
    verifier = TokenVerifier(Settings(data_dir=tmp_path))
    assert (await verifier.prove(bearer(claims(), development_secret(tmp_path)))).identity == Identity("ada", Role.USER)
    assert (await refusal(verifier, bearer(claims()))).reason is Reason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("changed", "reason", "text"),
    [
        ({"exp": 1}, Reason.EXPIRED, "expired"),
        ({"nbf": int(time()) + 86_400}, Reason.NOT_YET_VALID, "clock"),
        ({"iat": int(time()) + 86_400}, Reason.NOT_YET_VALID, "clock"),
        ({"aud": "elsewhere"}, Reason.WRONG_AUDIENCE, "`aud` claim must name videocredits"),
        ({"iss": "elsewhere"}, Reason.WRONG_ISSUER, "`iss` claim must be videocredits"),
        ({"exp": None}, Reason.MISSING_CLAIM, "`exp`"),
        ({"aud": None}, Reason.MISSING_CLAIM, "`aud`"),
        ({"iss": None}, Reason.MISSING_CLAIM, "`iss`"),
        ({"sub": None}, Reason.MISSING_CLAIM, "`sub`"),
        ({"role": None}, Reason.MISSING_CLAIM, "`role`"),
        ({"role": "OWNER"}, Reason.UNKNOWN_ROLE, "`role` claim must be USER, WORKER or ADMIN"),
        ({"role": "Admin"}, Reason.UNKNOWN_ROLE, "`role` claim must be USER, WORKER or ADMIN"),
        ({"role": ["ADMIN"]}, Reason.UNKNOWN_ROLE, "`role` claim must be USER, WORKER or ADMIN"),
        ({"sub": ""}, Reason.INVALID_SUBJECT, "`sub`"),
        ({"sub": 7}, Reason.INVALID_SUBJECT, "`sub`"),
        ({"sub": "x" * 256}, Reason.INVALID_SUBJECT, "`sub`"),
        ({"sub": "a\0b"}, Reason.INVALID_SUBJECT, "`sub`"),
        ({"sub": "a\ud800"}, Reason.INVALID_SUBJECT, "`sub`"),
        ({"exp": "soon"}, Reason.MALFORMED, "whole token"),
        ({"exp": float("inf")}, Reason.MALFORMED, "whole token"),
    ],
)
async def test_wrong_claims(changed: dict[str, Any], reason: Reason, text: str) -> None:
    """A signed token with an invalid claim is refused with the reason, which names the claim."""
    found = await refusal(TokenVerifier(SETTINGS), bearer(claims(**changed)))
    assert found.reason is reason
    assert text in found.message


async def test_other_names_for_the_claims() -> None:
    """Audience, issuer and role claim are settings; one of several audiences suffices, as does a lower-case role."""
    settings = Settings(
        jwt_secret=SECRET, jwt_audience=AUDIENCE, jwt_issuer=ISSUER, role_claim="https://x.example/role"
    )
    payload = claims(aud=["else", AUDIENCE], iss=ISSUER, role=None) | {"https://x.example/role": "admin"}
    assert (await TokenVerifier(settings).prove(bearer(payload))).identity == Identity("ada", Role.ADMIN)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer undefined",
        "Bearer a.b.c",
        "Bearer é",
        "Basic YWRhOnNlY3JldA==",
        jwt.encode(claims(), SECRET),
        bearer(claims(padding="x" * 8192)),
        "Bearer " + jwt.encode(claims(), SECRET, headers={"crit": ["\ud800"]}),
    ],
)
async def test_malformed(authorization: str) -> None:
    """A header without a bearer token, or with more than 8192 characters, is refused with how to send one."""
    found = await refusal(TokenVerifier(SETTINGS), authorization)
    assert found.reason is Reason.MALFORMED
    assert "must be `Bearer` and the whole token" in found.message


async def test_wrong_signature_or_algorithm() -> None:
    """Another secret, a changed signature, another algorithm and no signature are all refused."""
    verifier = TokenVerifier(SETTINGS)
    assert (await refusal(verifier, bearer(claims(), SECRET[::-1]))).reason is Reason.BAD_SIGNATURE
    assert (await refusal(verifier, bearer(claims())[:-4] + "AAAA")).reason is Reason.BAD_SIGNATURE
    assert (await refusal(verifier, bearer(claims())[:-43])).reason is Reason.BAD_SIGNATURE
    for authorization in (
        bearer(claims(), SECRET * 2, "HS512"),
        bearer(claims(), "", "none"),
        f"Bearer {jwt.encode(claims(), RSA, 'RS256')}",
    ):
        found = await refusal(verifier, authorization)
        assert found.reason is Reason.ALGORITHM_NOT_ALLOWED
        assert found.message == "The token must be signed with HS256."


async def test_leeway() -> None:
    """Clocks may differ by a few seconds: a token is valid that long before and after its time, and no longer."""
    verifier = TokenVerifier(SETTINGS)
    now = int(time())
    assert await verifier.prove(bearer(claims(exp=now - 1)))
    assert await verifier.prove(bearer(claims(iat=now + 2, nbf=now + 2)))
    assert (await refusal(verifier, bearer(claims(exp=now - 6)))).reason is Reason.EXPIRED


async def test_a_remembered_token_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that was verified before is refused once it has expired."""
    verifier = TokenVerifier(SETTINGS)
    payload = claims()
    assert await verifier.prove(bearer(payload))
    monkeypatch.setattr(server.auth.tokens, "time", lambda: payload["exp"] + 4.9)
    assert await verifier.prove(bearer(payload))
    monkeypatch.setattr(server.auth.tokens, "time", lambda: payload["exp"] + 5.0)
    assert (await refusal(verifier, bearer(payload))).reason is Reason.EXPIRED


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "crit", "b64", "typ"]), json_values),
    st.dictionaries(st.sampled_from(["sub", "aud", "iss", "exp", "iat", "nbf", "jti", "role"]), json_values)
    | json_values,
)
def test_any_token_at_all(header: dict[str, Any], payload: Any) -> None:
    """Any token, even a signed one, either proves an identity or is refused; none causes a fault."""
    if isinstance(payload, dict):
        payload = claims() | payload
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256"} | header, payload)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(SECRET.encode(), signed, hashlib.sha256)).rstrip(b"=")
    for settings in (SETTINGS, Settings(jwks_url="http://127.0.0.1:1/", jwt_audience=AUDIENCE, jwt_issuer=ISSUER)):
        try:
            found = asyncio.run(
                TokenVerifier(settings).prove(f"Bearer {signed.decode()}.{signature.decode()}")
            ).identity
        except InvalidToken as refused:
            refused.message.encode()
        else:
            assert found is not None


@given(st.text(st.characters(codec=None)))
def test_any_header_at_all(text: str) -> None:
    """Any text in the header is refused; none causes a fault."""
    for authorization in (text, f"Bearer {text}"):
        with pytest.raises(InvalidToken):
            asyncio.run(TokenVerifier(SETTINGS).prove(authorization))


def test_mint_token_for_an_invalid_subject() -> None:
    """No token is minted for a subject that the server would refuse."""
    with pytest.raises(ValueError, match="1 to 255 characters"):
        mint_token(
            SECRET, role=Role.USER, subject="", audience="a", issuer="i", role_claim="role", expires_in_seconds=60
        )


def test_identity() -> None:
    """A subject's user id never changes, whatever its role; the actor names both."""
    assert Identity("ada", Role.USER).user_id == UUID("d8944eaa-012e-5217-a125-05c67f87f710")
    assert Identity("ada", Role.ADMIN).user_id == Identity("ada", Role.USER).user_id
    assert Identity("Ada", Role.USER).user_id != Identity("ada", Role.USER).user_id
    assert Identity("render-1", Role.WORKER).actor == "WORKER:render-1"
    assert Identity("x" * 255, Role.USER).subject == "x" * 255
