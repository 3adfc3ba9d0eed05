"""Limits on open sockets: what counts as one address, and the process's file descriptors."""

import resource
from collections.abc import Iterator
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from server.gates.sockets import DESCRIPTORS_MAX, DESCRIPTORS_RESERVED, SocketLimits, raise_descriptor_limit
from server.process.settings import Settings


@pytest.fixture
def limit() -> Iterator[int]:
    """Lower this process's limit on file descriptors."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
    yield 512
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("hosts", "others"),
    [
        (["192.0.2.1", "::ffff:192.0.2.1"], ["192.0.2.2"]),
        (["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::1"], ["2001:db8:0:1::1"]),
    ],
)
def test_an_address(settings: Settings, hosts: list[str], others: list[str]) -> None:
    """An IPv4 address is the same in either notation, and a /64 of IPv6 is one address; others are unaffected."""
    limits = SocketLimits(replace(settings, sockets_per_address_max=len(hosts)))
    keys = [limits.admit(host) for host in hosts]
    assert None not in keys
    assert [limits.admit(host) for host in hosts] == [None] * len(hosts)
    assert None not in [limits.admit(host) for host in others]
    assert keys[0] is not None
    limits.release(keys[0])
    assert limits.admit(hosts[0]) is not None


def test_nothing_is_kept_of_addresses_without_sockets(settings: Settings) -> None:
    """An address's count is removed with its last socket."""
    limits = SocketLimits(settings)
    for number in range(1000):
        key = limits.admit(f"192.0.2.{number % 250}")
        assert key is not None
        limits.release(key)
    assert limits._open == {}  # noqa: SLF001 - what must not grow


def test_descriptors_are_scarce(settings: Settings, limit: int) -> None:
    """Descriptors count as scarce once only a reserve is left, and the log says so now and then."""
    limits = SocketLimits(settings)
    with capture_logs() as logs:
        assert not limits.are_scarce(limit - DESCRIPTORS_RESERVED - 1)
        assert all(limits.are_scarce(limit - DESCRIPTORS_RESERVED) for _ in range(100))
    assert [(line["event"], line["log_level"]) for line in logs] == [("file_descriptors_running_out", "warning")]


def test_the_limit_is_raised(limit: int) -> None:
    """The process raises its soft limit on descriptors as far as allowed, up to a maximum."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    raise_descriptor_limit()
    expected = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    assert limit < expected
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (expected, hard)
    raise_descriptor_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (expected, hard)
