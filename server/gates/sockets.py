"""Limits on open sockets: by the address they come from, and by the file descriptors that are left."""

import resource
from contextlib import suppress
from ipaddress import ip_address, ip_network
from time import monotonic

import structlog

from server.gates.rate_limit import network
from server.process.settings import PREFIX, Settings

log = structlog.get_logger()

DESCRIPTORS_MAX = 1_048_576  # Some systems allow a billion, which would mean that there is no limit.
DESCRIPTORS_RESERVED = 64  # Connections to the database, files and connections that are just being accepted need these.
WARNING_SECONDS = 60


class SocketLimits:
    """Counts the open sockets of each address (of IPv6, each /64), and watches the file descriptors.

    A reverse proxy that is trusted has as many sockets as it needs: it limits its own clients.
    """

    def __init__(self, settings: Settings) -> None:
        self._per_address_max = settings.sockets_per_address_max
        self._trusted = [ip_network(proxy, strict=False) for proxy in settings.trusted_proxies or ()]
        self._open: dict[str, int] = {}
        self._warned: dict[str, float] = {}

    def admit(self, host: str) -> str | None:
        """Count a socket from this address and return the key to release it by; None if the address has too many."""
        key = network(host)
        count = self._open.get(key, 0)
        if count >= self._per_address_max and not self._is_trusted(host):
            self._warn("sockets_per_address_exceeded", address=key, setting=f"{PREFIX}SOCKETS_PER_ADDRESS_MAX")
            return None
        self._open[key] = count + 1
        return key

    def release(self, key: str) -> None:
        """Forget a socket that was admitted."""
        count = self._open.pop(key) - 1
        if count:
            self._open[key] = count

    def are_scarce(self, descriptor: int) -> bool:
        """Tell, by the descriptor that a new socket was given, whether the process is running out of them.

        The system gives the lowest that is free, so all below it are in use.
        """
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if descriptor < limit - min(DESCRIPTORS_RESERVED, limit // 4):
            return False
        self._warn("file_descriptors_running_out", limit=limit)
        return True

    def _is_trusted(self, host: str) -> bool:
        address = ip_address(host)
        return any(address in proxy for proxy in self._trusted)

    def _warn(self, event: str, **details: object) -> None:
        """Log what clients can cause as often as they like, at most once a minute."""
        now = monotonic()
        if now - self._warned.get(event, -WARNING_SECONDS) >= WARNING_SECONDS:
            self._warned[event] = now
            log.warning(event, **details)


def raise_descriptor_limit() -> None:
    """Allow this process as many file descriptors as the system lets it have without further rights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS allows less than it says.
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
