"""Tokens that an identity provider signs: which are valid, and how its keys stay current.

These tests run the provider themselves, over HTTP.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

import server.auth.jwks
from resolvers.identity import Identity, Role
from server.auth.tokens import Reason, TokenVerifier
from server.process.settings import Settings
from tests.server.auth.test_tokens import AUDIENCE, ISSUER, RSA, SECRET, claims, refusal

OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED25519 = ed25519.Ed25519PrivateKey.generate()
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Provider(ThreadingHTTPServer):
    """An identity provider: publishes the keys that it has, and counts requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ProviderHandler)
        self.keys: list[dict[str, Any]] = []
        self.nonsense: bytes | None = None
        self.status = 200
        self.requests = 0
        self.answered = 0
        self.asked = Event()
        self.open = Event()
        self.open.set()

    def publish(self, **keys: PrivateKey) -> None:
        self.keys = [jwk(key) | {"kid": kid, "use": "sig"} for kid, key in keys.items()]

    @property
    def settings(self) -> Settings:
        url = f"http://127.0.0.1:{self.server_port}/keys"
        return Settings(jwks_url=url, jwt_audience=AUDIENCE, jwt_issuer=ISSUER)


class ProviderHandler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        self.server.requests += 1
        self.server.asked.set()
        self.server.open.wait(10)
        self.server.answered += 1
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(self.server.nonsense or json.dumps({"keys": self.server.keys}).encode())

    def log_message(self, format: str, *_: object) -> None:
        """Keep the tests' output quiet."""


class Clock:
    """The clock by which keys expire; it moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        thread = Thread(target=provider.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield provider
        provider.open.set()
        provider.shutdown()
        thread.join()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(server.auth.jwks, "monotonic", clock)
    return clock


def jwk(key: PrivateKey) -> dict[str, Any]:
    match key:
        case rsa.RSAPrivateKey():
            return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ec.EllipticCurvePrivateKey():
            return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
        case ed25519.Ed25519PrivateKey():
            return OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)


def signed(key: PrivateKey, kid: str | None, algorithm: str = "RS256", **changed: Any) -> str:
    payload = claims(**{"aud": AUDIENCE, "iss": ISSUER} | changed)
    return f"Bearer {jwt.encode(payload, key, algorithm, headers={'kid': kid} if kid else None)}"


@pytest.mark.parametrize(("algorithm", "key"), [("RS256", RSA), ("ES256", EC), ("EdDSA", ED25519)])
async def test_public_keys(provider: Provider, algorithm: str, key: PrivateKey) -> None:
    """A token signed with one of the provider's keys is valid, for each of the three algorithms."""
    provider.publish(a=RSA, b=EC, c=ED25519)
    verifier = TokenVerifier(provider.settings)
    kid = {"RS256": "a", "ES256": "b", "EdDSA": "c"}[algorithm]
    assert (await verifier.prove(signed(key, kid, algorithm))).identity == Identity("ada", Role.USER)
    other_kid = {"a": "b", "b": "c", "c": "a"}[kid]
    assert (await refusal(verifier, signed(key, other_kid, algorithm))).reason is Reason.ALGORITHM_NOT_ALLOWED
    assert provider.requests == 1


async def test_another_key_under_a_known_id(provider: Provider) -> None:
    """A token that names the provider's key but is signed with another is refused; so are invalid claims."""
    provider.publish(a=RSA)
    verifier = TokenVerifier(provider.settings)
    assert (await refusal(verifier, signed(OTHER_RSA, "a"))).reason is Reason.BAD_SIGNATURE
    assert (await refusal(verifier, signed(RSA, "a", exp=1))).reason is Reason.EXPIRED
    assert (await refusal(verifier, signed(RSA, "a", aud="else"))).reason is Reason.WRONG_AUDIENCE


async def test_public_key_as_a_secret(provider: Provider) -> None:
    """HS256 with the provider's public key, and a missing signature, are refused before any key is fetched."""
    provider.publish(a=RSA)
    verifier = TokenVerifier(provider.settings)
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": "a"}, claims(aud=AUDIENCE, iss=ISSUER))]
    message = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(pem, message, hashlib.sha256)).rstrip(b"=")
    forged = f"Bearer {message.decode()}.{signature.decode()}"
    unsigned = f"Bearer {jwt.encode(claims(), '', 'none', headers={'kid': 'a'})}"
    for authorization in (forged, unsigned, signed(RSA, "a", "RS512"), signed(RSA, "a", "PS256")):
        found = await refusal(verifier, authorization)
        assert found.reason is Reason.ALGORITHM_NOT_ALLOWED
        assert found.message == "The token must be signed with RS256 or ES256 or EdDSA."
    assert provider.requests == 0


async def test_secrets_and_weak_keys_that_a_provider_publishes(provider: Provider) -> None:
    """A published key is ignored if it is secret, too short, for encryption, of another algorithm, or has no id."""
    weak = rsa.generate_private_key(65537, 1024)
    provider.publish(good=EC, weak=weak)
    provider.keys += [
        {"kty": "oct", "kid": "oct", "alg": "HS256", "k": base64.urlsafe_b64encode(SECRET.encode()).decode()},
        jwk(RSA) | {"kid": "rs512", "alg": "RS512"},
        jwk(RSA) | {"kid": "enc", "use": "enc"},
        jwk(RSA),
        {"kty": "odd", "kid": "odd"},
        jwk(RSA) | {"kid": ["list"]},
        jwk(RSA) | {"kid": 1},
    ]
    verifier = TokenVerifier(provider.settings)
    assert await verifier.prove(signed(EC, "good", "ES256"))
    for kid in ("oct", "rs512", "enc", "odd", None):
        assert (await refusal(verifier, signed(RSA, kid))).reason is Reason.UNKNOWN_KEY
    with pytest.warns(jwt.InsecureKeyLengthWarning):
        weakly_signed = signed(weak, "weak")
    assert (await refusal(verifier, weakly_signed)).reason is Reason.UNKNOWN_KEY


async def test_a_new_key_is_found(provider: Provider, clock: Clock) -> None:
    """A key that the provider publishes later works without a restart, and the old one still does."""
    provider.publish(old=RSA)
    verifier = TokenVerifier(provider.settings)
    assert await verifier.prove(signed(RSA, "old"))
    provider.publish(old=RSA, new=OTHER_RSA)
    clock.now += server.auth.jwks.FETCH_INTERVAL_SECONDS
    assert await verifier.prove(signed(OTHER_RSA, "new"))
    assert await verifier.prove(signed(RSA, "old"))
    assert provider.requests == 2


async def test_forged_key_ids_do_not_hammer_the_provider(provider: Provider, clock: Clock) -> None:
    """However many unknown key ids arrive, the provider gets one request per interval."""
    provider.publish(a=RSA)
    verifier = TokenVerifier(provider.settings)
    for interval in range(1, 4):
        forged = [refusal(verifier, signed(OTHER_RSA, f"forged-{number}")) for number in range(20)]
        assert {found.reason for found in await asyncio.gather(*forged)} == {Reason.UNKNOWN_KEY}
        assert await verifier.prove(signed(RSA, "a"))
        assert provider.requests == interval
        clock.now += server.auth.jwks.FETCH_INTERVAL_SECONDS


async def test_many_at_once_wait_for_one_fetch(provider: Provider, clock: Clock) -> None:
    """Callers that arrive during a fetch wait for it; one that is cancelled does not cancel the fetch."""
    provider.publish(a=RSA)
    provider.open.clear()
    verifier = TokenVerifier(provider.settings)
    first = asyncio.create_task(verifier.prove(signed(RSA, "a")))
    await asyncio.sleep(0)
    others = [asyncio.create_task(verifier.prove(signed(RSA, "a"))) for _ in range(20)]
    await asyncio.sleep(0)
    clock.now += server.auth.jwks.FETCH_INTERVAL_SECONDS
    others.append(asyncio.create_task(verifier.prove(signed(RSA, "a"))))
    await asyncio.sleep(0)
    first.cancel()
    provider.open.set()
    assert [proof.identity for proof in await asyncio.gather(*others)] == [Identity("ada", Role.USER)] * 21
    assert first.cancelled()
    assert provider.requests == 1


async def test_a_withdrawn_key_is_forgotten(provider: Provider, clock: Clock) -> None:
    """Stale keys are used while they are fetched again; then a withdrawn key is refused."""
    provider.publish(old=RSA)
    verifier = TokenVerifier(provider.settings)
    assert await verifier.prove(signed(RSA, "old"))
    clock.now += server.auth.jwks.FRESH_SECONDS
    assert await verifier.prove(signed(RSA, "old"))
    assert provider.requests == 1
    provider.publish(new=OTHER_RSA)
    provider.asked.clear()
    clock.now += 1
    assert await verifier.prove(signed(RSA, "old"))
    assert await asyncio.to_thread(provider.asked.wait, 10)
    assert await verifier.prove(signed(OTHER_RSA, "new"))
    assert (await refusal(verifier, signed(RSA, "old"))).reason is Reason.UNKNOWN_KEY
    assert provider.requests == 2


async def test_a_key_is_replaced_under_its_id(provider: Provider, clock: Clock) -> None:
    """When the provider replaces the key under an id, tokens of the old key are refused."""
    provider.publish(a=RSA, b=EC)
    verifier = TokenVerifier(provider.settings)
    token = signed(RSA, "a")
    assert await verifier.prove(token)
    provider.publish(a=OTHER_RSA, c=EC)
    clock.now += server.auth.jwks.FETCH_INTERVAL_SECONDS
    assert await verifier.prove(signed(EC, "c", "ES256"))
    assert (await refusal(verifier, token)).reason is Reason.BAD_SIGNATURE


async def test_an_outage_of_the_provider(provider: Provider, clock: Clock) -> None:
    """While the provider is down, its last keys are used for an hour; after that, or without any, there are none."""
    provider.publish(a=RSA)
    verifier = TokenVerifier(provider.settings)
    provider.status = 503
    found = await refusal(verifier, signed(RSA, "a"))
    assert found.reason is Reason.KEYS_UNAVAILABLE
    assert "try again" in found.message
    provider.status = 200
    clock.now += server.auth.jwks.FETCH_INTERVAL_SECONDS
    assert await verifier.prove(signed(RSA, "a"))
    provider.status = 503
    clock.now += server.auth.jwks.KEPT_SECONDS
    assert await verifier.prove(signed(RSA, "a"))
    assert (await refusal(verifier, signed(RSA, "b"))).reason is Reason.UNKNOWN_KEY
    clock.now += server.auth.jwks.FETCH_INTERVAL_SECONDS
    assert (await refusal(verifier, signed(RSA, "a"))).reason is Reason.KEYS_UNAVAILABLE
    provider.status = 200
    clock.now += server.auth.jwks.FETCH_INTERVAL_SECONDS
    assert await verifier.prove(signed(RSA, "a"))


class SlowProvider:
    """A provider that sends this, and then a part without end, byte by byte or as fast as it can."""

    def __init__(self, beginning: bytes, part: bytes) -> None:
        self.beginning = beginning
        self.part = part
        self.sent = 0
        self.left = asyncio.Event()

    async def __call__(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.beginning)
        try:
            while True:
                writer.write(self.part)
                self.sent += len(self.part)
                await writer.drain()
                await asyncio.sleep(0.02 if len(self.part) == 1 else 0)
        except ConnectionError:
            self.left.set()
        finally:
            writer.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE_CHUNK = b"10000\r\n" + b" " * 65_536 + b"\r\n"


@pytest.mark.parametrize(
    ("beginning", "part"),
    [
        (HEAD + b"\r\n", b" "),
        (HEAD, b"a"),
        (b"", b"a"),
        (CHUNKED + b"10000\r\n", b" "),
        (CHUNKED, LARGE_CHUNK),
        (HEAD + b"\r\n", b" " * 65_536),
        (HEAD, b"a: b\r\n" * 1_000),
        (HEAD, b"a" * 65_536),
    ],
    ids=["body", "header", "status", "chunk", "endless chunks", "endless body", "endless headers", "endless header"],
)
async def test_a_provider_that_never_ends(monkeypatch: pytest.MonkeyPatch, beginning: bytes, part: bytes) -> None:
    """A response that never ends is abandoned: by time if it drips, by size if it floods."""
    slow = len(part) == 1
    monkeypatch.setattr(server.auth.jwks, "FETCH_SECONDS_MAX", 0.3 if slow else 60)
    provider = SlowProvider(beginning, part)
    async with await asyncio.start_server(provider, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/keys"
        verifier = TokenVerifier(Settings(jwks_url=url, jwt_audience=AUDIENCE, jwt_issuer=ISSUER))
        async with asyncio.timeout(30):
            found = await refusal(verifier, signed(RSA, "a"))
            await provider.left.wait()
    assert found.reason is Reason.KEYS_UNAVAILABLE
    assert provider.sent < 20 * server.auth.jwks.KEYS_BYTES_MAX  # The sockets' buffers are sent, too.


def test_a_silent_provider_does_not_delay_a_stop(provider: Provider) -> None:
    """When the server stops during a fetch, the fetch is cancelled."""
    provider.publish(a=RSA)
    provider.open.clear()

    async def begin() -> None:
        verifier = TokenVerifier(provider.settings)
        waiting = asyncio.create_task(verifier.prove(signed(RSA, "a")))
        await asyncio.to_thread(provider.asked.wait, 10)
        assert not waiting.done()

    asyncio.run(begin())
    assert provider.answered == 0


async def test_redirects_are_not_followed(provider: Provider) -> None:
    """Redirects are not followed: the address may contain a secret, and no other is trusted."""
    provider.publish(a=RSA)
    provider.status = 302
    found = await refusal(TokenVerifier(provider.settings), signed(RSA, "a"))
    assert found.reason is Reason.KEYS_UNAVAILABLE
    assert provider.requests == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        b"<html>",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b'{"keys": []}',
        b'{"keys": "a"}',
        b'{"keys": ["a", {"kty": "odd"}]}',
        json.dumps({"keys": [jwk(RSA) | {"alg": ["RS256"]}]}).encode(),
    ],
)
async def test_a_response_without_keys(provider: Provider, nonsense: bytes) -> None:
    """A response without usable keys counts as no keys, and causes no fault."""
    provider.nonsense = nonsense
    found = await refusal(TokenVerifier(provider.settings), signed(RSA, "a"))
    assert found.reason is Reason.KEYS_UNAVAILABLE
