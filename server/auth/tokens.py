"""A bearer token becomes an identity, or an error with a code."""

from enum import StrEnum
from time import time
from typing import Any, ClassVar, NamedTuple

import jwt
from jwt.exceptions import InvalidSubjectError

from resolvers.identity import Identity, Role
from server.auth.jwks import ALGORITHMS, PublicKeys
from server.process.settings import Settings, development_secret

AUTHORIZATION_CHARACTERS_MAX = 8192
LEEWAY_SECONDS = 5  # The provider's clock may be a little ahead of ours, or a token would be refused as not yet valid.
TOKENS_REMEMBERED_MAX = 1024
TOKEN_SECONDS_MAX = 60  # Open sockets and streams verify their token again so often.
ROLES = {spelling: role for role in Role for spelling in (role.value, role.value.lower())}


class Reason(StrEnum):
    """Why a token is refused."""

    MALFORMED = "MALFORMED"
    ALGORITHM_NOT_ALLOWED = "ALGORITHM_NOT_ALLOWED"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    KEYS_UNAVAILABLE = "KEYS_UNAVAILABLE"
    BAD_SIGNATURE = "BAD_SIGNATURE"
    MISSING_CLAIM = "MISSING_CLAIM"
    EXPIRED = "EXPIRED"
    NOT_YET_VALID = "NOT_YET_VALID"
    WRONG_AUDIENCE = "WRONG_AUDIENCE"
    WRONG_ISSUER = "WRONG_ISSUER"
    INVALID_SUBJECT = "INVALID_SUBJECT"
    UNKNOWN_ROLE = "UNKNOWN_ROLE"


_MESSAGES = {
    Reason.MALFORMED: "The Authorization header must be `Bearer` and the whole token that you were given, of at most "
    "{characters_max} characters; leave the header out to call without signing in.",
    Reason.ALGORITHM_NOT_ALLOWED: "The token must be signed with {algorithms}.",
    Reason.UNKNOWN_KEY: "The token names no key (`kid`) that the identity provider publishes: sign in again.",
    Reason.KEYS_UNAVAILABLE: "The identity provider's keys cannot be had at the moment: try again in a few seconds.",
    Reason.BAD_SIGNATURE: "The token was not signed with a key that this server trusts: sign in again.",
    Reason.MISSING_CLAIM: "The token lacks the `{claim}` claim: the identity provider must put it in.",
    Reason.EXPIRED: "The token has expired: renew it or sign in again.",
    Reason.NOT_YET_VALID: "The token is not valid yet (`nbf` or `iat`): check the issuer's clock.",
    Reason.WRONG_AUDIENCE: "The token is meant for somebody else: its `aud` claim must name {settings.jwt_audience}.",
    Reason.WRONG_ISSUER: "The token comes from somebody else: its `iss` claim must be {settings.jwt_issuer}.",
    Reason.INVALID_SUBJECT: "The token's `sub` claim must be 1 to 255 characters, none of them a control character.",
    Reason.UNKNOWN_ROLE: "The token's `{settings.role_claim}` claim must be USER, WORKER or ADMIN (or all lower case).",
}
_REASONS: dict[type[jwt.PyJWTError], Reason] = {
    jwt.InvalidAlgorithmError: Reason.ALGORITHM_NOT_ALLOWED,
    jwt.InvalidSignatureError: Reason.BAD_SIGNATURE,
    jwt.ExpiredSignatureError: Reason.EXPIRED,
    jwt.ImmatureSignatureError: Reason.NOT_YET_VALID,
    jwt.InvalidAudienceError: Reason.WRONG_AUDIENCE,
    jwt.InvalidIssuerError: Reason.WRONG_ISSUER,
    InvalidSubjectError: Reason.INVALID_SUBJECT,
}


class InvalidToken(Exception):  # noqa: N818 - It names a finding, and reads so where it is caught.
    """The Authorization header is not accepted; the message tells front-end developers why, and what to do."""

    code: ClassVar = "UNAUTHENTICATED"

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Proof(NamedTuple):
    """The identity that a token proves, and until when, in seconds since 1970."""

    identity: Identity
    good_until: int


class TokenVerifier:
    """Verifies bearer tokens with the one kind of key that the settings name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secret = development_secret(settings.data_dir) if settings.development_keys else settings.jwt_secret
        self._public_keys = PublicKeys(settings.jwks_url) if settings.jwks_url else None
        # A client sends the same token with every request. Only valid ones are cached, each with the key that verified
        # it: keys that are fetched again are new objects, so tokens of a withdrawn key are no longer accepted.
        self._proven: dict[str, tuple[Proof, str | jwt.PyJWK]] = {}

    def recall(self, authorization: str) -> Proof | None:
        """Return what an Authorization header has proved before, if that still holds."""
        known = self._proven.get(authorization)
        if known is None:
            return None
        proof, key = known
        holds = proof.good_until > time() and (self._public_keys is None or self._public_keys.holds(key))
        return proof if holds else None

    async def prove(self, authorization: str) -> Proof:
        """Verify an Authorization header; InvalidToken where it proves no identity."""
        if known := self.recall(authorization):
            return known
        if len(authorization) > AUTHORIZATION_CHARACTERS_MAX or not authorization.isascii():
            raise self._refusal(Reason.MALFORMED)
        scheme, _, token = authorization.partition(" ")
        token = token.strip(" ")
        if scheme.lower() != "bearer":
            raise self._refusal(Reason.MALFORMED)
        key = self._secret if self._public_keys is None else await self._find_key(self._public_keys, token)
        assert key is not None  # noqa: S101 - the settings name one kind of key, or development makes a secret
        proof = self._decode(token, key)
        if proof.good_until <= time():
            raise self._refusal(Reason.EXPIRED)
        self._proven.pop(authorization, None)
        if len(self._proven) >= TOKENS_REMEMBERED_MAX:
            del self._proven[next(iter(self._proven))]  # The one that was proven first.
        self._proven[authorization] = (proof, key)
        return proof

    async def _find_key(self, public_keys: PublicKeys, token: str) -> jwt.PyJWK:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            raise self._refusal(Reason.MALFORMED) from None
        if header.get("alg") not in ALGORITHMS:  # Before any fetch: no key makes such a token valid.
            raise self._refusal(Reason.ALGORITHM_NOT_ALLOWED)
        key = await public_keys.find(header.get("kid", ""))
        if key is None:
            raise self._refusal(Reason.KEYS_UNAVAILABLE if public_keys.unavailable else Reason.UNKNOWN_KEY)
        return key

    def _decode(self, token: str, key: str | jwt.PyJWK) -> Proof:
        role_claim = self._settings.role_claim
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name] if isinstance(key, jwt.PyJWK) else ["HS256"],
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "aud", "iss", "sub", role_claim]},
            )
        except jwt.MissingRequiredClaimError as error:
            raise self._refusal(Reason.MISSING_CLAIM, error.claim) from None
        except jwt.PyJWTError as error:
            raise self._refusal(_REASONS.get(type(error), Reason.MALFORMED)) from None
        if not isinstance(claims[role_claim], str) or claims[role_claim] not in ROLES:
            raise self._refusal(Reason.UNKNOWN_ROLE)
        try:
            return Proof(Identity(claims["sub"], ROLES[claims[role_claim]]), int(claims["exp"]) + LEEWAY_SECONDS)
        except ValueError:
            raise self._refusal(Reason.INVALID_SUBJECT) from None

    def _refusal(self, reason: Reason, claim: str = "") -> InvalidToken:
        # In our own words: the library's may quote the token, which need not even be text that JSON can carry.
        message = _MESSAGES[reason].format(
            settings=self._settings,
            claim=claim,
            algorithms="HS256" if self._public_keys is None else " or ".join(ALGORITHMS),
            characters_max=AUTHORIZATION_CHARACTERS_MAX,
        )
        return InvalidToken(reason, message)


def mint_token(
    secret: str, *, role: Role, subject: str, audience: str, issuer: str, role_claim: str, expires_in_seconds: int
) -> str:
    """Sign a token for development; ValueError where the subject is invalid."""
    identity = Identity(subject, role)
    now = int(time())
    claims = {
        "sub": identity.subject,
        "aud": audience,
        "iss": issuer,
        "iat": now,
        "exp": now + expires_in_seconds,
        role_claim: identity.role.value,
    }
    return jwt.encode(claims, secret, algorithm="HS256")
