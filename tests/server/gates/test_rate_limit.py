"""Rate limits: which requests share a quota, what a refusal contains, and what is never limited."""

import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
import throttled.utils
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from throttled import MemoryStore, Quota, Throttled, per_hour, per_sec

import server.gates.rate_limit
from resolvers.identity import Role
from server.app import create_app
from server.gates.rate_limit import Counts
from server.process.settings import Settings, StartError
from tests.api import Transport, headers
from tests.log import serving_logged

pytestmark = pytest.mark.usefixtures("fast_path_and_asgi")

QUERY = {"query": "{ __typename }"}
NOWHERE = "redis://app:hunter2@127.0.0.1:1"


class Site:
    """The application, called from any address."""

    def __init__(self, app: Starlette) -> None:
        self._app = app

    async def ask(
        self, address: str, subject: str | None = None, role: Role = Role.USER, more: dict[str, str] | None = None
    ) -> httpx2.Response:
        """Send a query from an address."""
        transport = Transport(self._app, client=(address, 1234))
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            return await client.post("/graphql", json=QUERY, headers={**headers(subject, role), **(more or {})})


@asynccontextmanager
async def site(dsn: str, settings: Settings) -> AsyncIterator[Site]:
    """Serve a database to clients with any address."""
    app = create_app(settings, dsn=dsn)
    async with app.router.lifespan_context(app):
        yield Site(app)


def limited(settings: Settings, *, identity: int | None = None, address: int | None = None) -> Settings:
    """Allow this many requests, with a refill too slow for any test to see."""

    def rate(count: int | None) -> Quota | None:
        return None if count is None else per_hour(count)

    return replace(settings, rate_limit_per_identity=rate(identity), rate_limit_per_address=rate(address))


def assert_limited(response: httpx2.Response, seconds: range) -> None:
    assert response.status_code == 429
    assert int(response.headers["Retry-After"]) in seconds
    (error,) = response.json()["errors"]
    assert error["extensions"] == {"code": "LIMIT_EXCEEDED", "errorId": response.headers["X-Request-Id"]}
    assert f"wait {response.headers['Retry-After']} s" in error["message"]
    assert "data" not in response.json()


async def test_an_address_has_a_quota(dsn: str, settings: Settings) -> None:
    """An address over its quota gets 429 with Retry-After, signed in or not; other addresses do not."""
    async with site(dsn, limited(settings, address=3)) as reached:
        for subject in (None, "ann", "bob"):
            assert (await reached.ask("192.0.2.1", subject)).status_code == 200
        for subject in (None, "ann", "bob"):
            assert_limited(await reached.ask("192.0.2.1", subject), range(1190, 1201))  # A third of an hour.
        assert (await reached.ask("192.0.2.2")).status_code == 200


async def test_a_user_has_a_quota(dsn: str, settings: Settings) -> None:
    """A user over its quota gets 429 from every address; other users, workers, admins and anonymous clients do not."""
    async with site(dsn, limited(settings, identity=2)) as reached:
        assert [(await reached.ask(f"192.0.2.{number}", "ann")).status_code for number in (1, 2)] == [200, 200]
        assert_limited(await reached.ask("192.0.2.3", "ann"), range(1790, 1801))
        assert (await reached.ask("192.0.2.1", "bob")).status_code == 200
        for role in (Role.WORKER, Role.ADMIN):
            assert [(await reached.ask("192.0.2.1", "ann", role)).status_code for _ in range(3)] == [200] * 3
        assert [(await reached.ask("192.0.2.1")).status_code for _ in range(3)] == [200] * 3


@given(
    quota=st.builds(per_sec, st.sampled_from([1, 2, 4, 16]), st.integers(1, 5)),
    requests=st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 40).map(lambda sixteenths: sixteenths / 16))),
)
def test_memory_and_redis_count_alike(quota: Quota, requests: list[tuple[str, float]]) -> None:
    """In-memory counting gives the same result for each request as throttled-py's own GCRA."""
    ours = Counts(quota)
    theirs = Throttled(using="gcra", quota=quota, store=MemoryStore())
    now = 1.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throttled.utils, "now_mono_f", lambda: now)
        for whose, seconds in requests:
            now += seconds
            expected = theirs.limit(whose)
            assert ours.spend(whose, now) == (expected.state.retry_after if expected.limited else 0)


async def test_an_invalid_token_counts_for_no_user(dsn: str, settings: Settings) -> None:
    """An invalid token is 401, and uses up the address's quota instead of a user's."""
    async with site(dsn, limited(settings, identity=1, address=3)) as reached:
        forged = {"Authorization": headers("ann")["Authorization"][:-8] + "AAAAAAAA"}
        assert [(await reached.ask("192.0.2.1", more=forged)).status_code for _ in range(4)] == [401, 401, 401, 429]
        assert (await reached.ask("192.0.2.2", "ann")).status_code == 200


async def test_health_checks_are_not_limited(dsn: str, settings: Settings) -> None:
    """/livez and /readyz are always answered, and use up no quota."""
    async with serving_logged(dsn, limited(settings, address=1)) as (api, log):
        for path in ("/livez", "/readyz"):
            assert [(await api.client.get(path)).status_code for _ in range(3)] == [200] * 3
        assert (await api.client.post("/graphql", json=QUERY)).status_code == 200
        assert (await api.client.post("/graphql", json=QUERY)).status_code == 429
        assert [line["level"] for line in log.read()] == ["info"] * 8


async def test_an_ipv6_network_is_one_address(dsn: str, settings: Settings) -> None:
    """All addresses in a /64 share a quota, and an IPv4-mapped IPv6 address counts as the IPv4 address."""
    async with site(dsn, limited(settings, address=1)) as reached:
        assert (await reached.ask("2001:db8:0:1::1")).status_code == 200
        assert (await reached.ask("2001:db8:0:1:ffff::2")).status_code == 429
        assert (await reached.ask("2001:db8:0:2::1")).status_code == 200
        assert (await reached.ask("::ffff:192.0.2.1")).status_code == 200
        assert (await reached.ask("192.0.2.1")).status_code == 429
        assert (await reached.ask("::ffff:192.0.2.2")).status_code == 200


async def test_only_a_trusted_proxy_names_addresses(dsn: str, settings: Settings) -> None:
    """The last untrusted address in a trusted proxy's X-Forwarded-For counts; a stranger's header is ignored."""
    settings = replace(limited(settings, address=1), trusted_proxies=("10.0.0.0/8", "192.0.2.99/32"))
    async with site(dsn, settings) as reached:
        for proxy in ("10.0.0.7", "192.0.2.99"):
            way = f"198.51.100.{proxy[-1]}, 10.9.9.9"
            assert (await reached.ask(proxy, more={"X-Forwarded-For": f"192.0.2.1, {way}"})).status_code == 200
            assert (await reached.ask(proxy, more={"X-Forwarded-For": f"192.0.2.2, {way}"})).status_code == 429
            assert (await reached.ask(proxy, more={"X-Forwarded-For": f"198.51.100.1{proxy[-1]}"})).status_code == 200
        assert (await reached.ask("192.0.2.1", more={"X-Forwarded-For": "198.51.100.1"})).status_code == 200
        assert (await reached.ask("192.0.2.1", more={"X-Forwarded-For": "198.51.100.2"})).status_code == 429


async def test_a_flood_of_addresses_takes_little_memory(
    dsn: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limited number of addresses is remembered; the most recently seen is never the one dropped."""
    monkeypatch.setattr(server.gates.rate_limit, "COUNTED_MAX", 10)
    async with site(dsn, limited(settings, address=2)) as flooded:
        for number in range(12):
            assert (await flooded.ask(f"198.51.100.{number}")).status_code == 200
            assert (await flooded.ask("192.0.2.1")).status_code == (200 if number < 2 else 429)
        assert [(await flooded.ask("198.51.100.0")).status_code for _ in range(3)] == [200, 200, 429]


async def test_requests_are_answered_while_redis_is_down(dsn: str, settings: Settings) -> None:
    """While Redis is unreachable every request is answered, and one log line says so, without the password."""
    settings = replace(limited(settings, identity=1, address=1), rate_limit_storage=NOWHERE)
    async with serving_logged(dsn, settings) as (api, log):
        for _ in range(3):
            assert (await api.client.post("/graphql", json=QUERY, headers=headers("ann"))).status_code == 200
        lines = log.read()
        errors = [line["event"] for line in lines if line["level"] == "error"]
        assert errors == ["rate_limits_not_counted"]
        assert "hunter2" not in str(lines)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """Run a Redis server, and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--dir", str(tmp_path), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("Ready to accept connections" in line for line in process.stdout)
        yield f"redis://127.0.0.1:{port}"
        process.kill()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server on this machine")
async def test_processes_share_quotas_in_redis(dsn: str, settings: Settings, redis: str) -> None:
    """Servers with the same Redis share quotas: a quota used up on one is used up on the other."""
    settings = replace(limited(settings, identity=2, address=3), rate_limit_storage=redis)
    async with site(dsn, settings) as one, site(dsn, settings) as other:
        assert [(await each.ask("192.0.2.1", "ann")).status_code for each in (one, other)] == [200, 200]
        assert_limited(await one.ask("192.0.2.2", "ann"), range(1790, 1801))
        assert_limited(await other.ask("192.0.2.2", "ann"), range(1790, 1801))
        assert (await other.ask("192.0.2.1")).status_code == 200
        assert_limited(await one.ask("192.0.2.1"), range(1190, 1201))


def test_redis_needs_its_client(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis setting without the client package fails the start, with how to install it."""
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    with pytest.raises(StartError, match="pip install 'throttled-py\\[redis\\]'"):
        create_app(replace(settings, rate_limit_storage=NOWHERE), dsn="postgresql://nowhere")
