"""Which wallets' rows have changed, in any process: a notification is a hint, and polling finds the rest."""

import asyncio
import hashlib
import math
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
import structlog

from db.connection_pool import PoolConnection, is_read_only, open_connection
from db.database import SESSION_SETTINGS
from db.statement import statement

log = structlog.get_logger()

# Quoted: asyncpg's classes are generic only to type checkers.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CHANNEL = "videocredits"
GATHER_SECONDS = 0.005
POLL_SECONDS = 1.0
# A server that has not answered for so long is taken for dead: with the pause between two polls, less than 2 seconds
# after its last answer.
ANSWER_SECONDS = 0.75
ANSWER_SECONDS_MAX = 3.0
WALLETS_PER_NOTICE = 360  # 16 bytes each, written in base64; PostgreSQL takes less than 8,000.

UNSEEN = -1  # The version of what has not been read yet: no row has it.
UNSEEN_PAGE = ""

POLL_CHANGES = statement("poll_changes")
ANNOUNCE = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
GREET = f"NOTIFY {CHANNEL}"  # Names no wallet: it tells the others that this process listens.
OTHERS_LISTEN = """SELECT count(*) > 0 FROM pg_stat_activity
  WHERE datname = current_database() AND application_name = current_setting('application_name')
    AND pid <> pg_backend_pid()"""


class WatchedWallet(NamedTuple):
    """A wallet, with the version that was seen last; None: there was none."""

    wallet_id: UUID
    version: int | None


class WatchedVideo(NamedTuple):
    """A video, with the version that was seen last."""

    wallet_id: UUID
    video_id: UUID
    version: int


class WatchedPage(NamedTuple):
    """A wallet's newest videos, so many of those that are wanted, with the digest of what was seen last."""

    wallet_id: UUID
    size: int
    statuses: tuple[str, ...] | None
    trashed: bool | None
    digest: str


Subject: TypeAlias = WatchedWallet | WatchedVideo | WatchedPage


class Change(NamedTuple):
    """A wallet of whom something has changed; or, without a wallet, what the render queue is now."""

    wallet_id: UUID | None
    queue_digest: int | None


def page_digest(videos: Sequence[tuple[UUID, int]]) -> str:
    """Digest the ids and versions of a page's videos, as `poll_changes.sql` does."""
    text = ",".join(f"{video_id}:{version}" for video_id, version in videos)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


async def poll_changes(connection: Connection, subjects: Iterable[Subject], with_queue: bool) -> list[Change]:
    """Find whose subjects are not as they were seen last, and what the render queue is, if that is asked."""
    wallets: list[WatchedWallet] = []
    videos: list[WatchedVideo] = []
    pages: list[WatchedPage] = []
    for subject in subjects:
        match subject:
            case WatchedWallet():
                wallets.append(subject)
            case WatchedVideo():
                videos.append(subject)
            case WatchedPage():
                pages.append(subject)
    records = await connection.fetch(
        POLL_CHANGES,
        [wallet.wallet_id for wallet in wallets],
        [wallet.version for wallet in wallets],
        [video.wallet_id for video in videos],
        [video.video_id for video in videos],
        [video.version for video in videos],
        [page.wallet_id for page in pages],
        [page.size for page in pages],
        [None if page.statuses is None else ",".join(page.statuses) for page in pages],
        [page.trashed for page in pages],
        [page.digest for page in pages],
        with_queue,
    )
    return [Change(*record) for record in records]


class ChangeFeed:
    """Announces changes to all other processes, if there are any, and hears of theirs, over one connection."""

    def __init__(
        self,
        dsn: str,
        *,
        notify: bool,
        subjects: Callable[[], Iterable[Subject]],
        follows_queue: Callable[[], bool],
        heard: Callable[[Iterable[UUID]], None],
        queue_moved: Callable[[], None],
    ) -> None:
        self._dsn = dsn
        self._notify = notify
        self._subjects = subjects
        self._follows_queue = follows_queue
        self._heard = heard
        self._queue_moved = queue_moved
        self._queue_digest: int | None = None
        self._others_listen = True  # until it is known that there are none
        self._outgoing: set[UUID] = set()
        self._stirred = asyncio.Event()  # There is something to announce, or the connection is lost.
        self._all_sent = asyncio.Event()
        self._all_sent.set()
        self._failures = 0  # since all was well

    def announce(self, wallet_id: UUID) -> None:
        """Tell all processes, soon, that rows of this wallet may have changed."""
        if self._notify and self._others_listen:
            self._outgoing.add(wallet_id)
            self._stirred.set()
            self._all_sent.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Announce and hear while the block lasts, then announce what is left, if that takes less than a second."""
        task = asyncio.create_task(self._run())
        try:
            yield
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._all_sent.wait()
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            try:
                connection = await open_connection(self._dsn, server_settings=_session_settings(self._notify))
                try:
                    await self._follow(connection)
                finally:
                    connection.terminate()  # Not closed, which would wait for a server that may be dead.
                    self._others_listen = True  # Who listens is not known until there is another connection.
            except Exception as error:  # Whatever it was: all that is followed is compared anew.
                if self._failures == 0:
                    if isinstance(error, (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
                        log.warning("change_feed_lost", reason=f"{type(error).__name__}: {error}")
                    else:
                        log.warning("change_feed_lost", exc_info=error)
                await asyncio.sleep(min(0.05 * 2**self._failures, 1))
                self._failures = min(self._failures + 1, 10)

    async def _follow(self, connection: PoolConnection) -> None:
        """Announce, hear and poll until the connection is lost, or another may lead to a server that takes changes."""
        own_pid = connection.get_server_pid()  # Once the connection is lost, asyncpg cannot tell.

        def hear(_: object, pid: int, __: str, payload: object) -> None:
            if pid != own_pid:  # What this process changed, it knows.
                self._others_listen = True
                self._heard(_wallets_in(str(payload)))

        connection.add_termination_listener(lambda _: self._stirred.set())
        if is_read_only(connection):  # A standby has no NOTIFY.
            connection.refused_change = True
        elif self._notify:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                await connection.execute(GREET)
                await connection.add_listener(CHANNEL, hear)
        now = asyncio.get_running_loop().time
        polls_at = -math.inf
        while True:
            self._stirred.clear()
            # Patience grows with the failures: a database that is merely slow must get to answer in the end.
            async with asyncio.timeout(min(ANSWER_SECONDS * 2**self._failures, ANSWER_SECONDS_MAX)):
                if polls_at <= now():
                    polls_at = now() + POLL_SECONDS
                    await self._poll(connection)
                await self._send(connection)
            if self._failures:
                log.info("change_feed_back")
                self._failures = 0
            with suppress(TimeoutError):
                async with asyncio.timeout_at(polls_at):
                    await self._stirred.wait()
                    await asyncio.sleep(GATHER_SECONDS)
            if connection.is_closed():
                raise ConnectionResetError("The database has closed the connection.")
            if connection.is_outdated(monotonic()):
                return

    async def _poll(self, connection: Connection) -> None:
        if self._notify:
            self._others_listen = await connection.fetchval(OTHERS_LISTEN)
        changes = await poll_changes(connection, self._subjects(), self._follows_queue())
        self._heard([change.wallet_id for change in changes if change.wallet_id is not None])
        queue_digest = next((change.queue_digest for change in changes if change.wallet_id is None), None)
        moved, self._queue_digest = queue_digest != self._queue_digest, queue_digest
        if moved and queue_digest is not None:
            self._queue_moved()

    async def _send(self, connection: PoolConnection) -> None:
        # Wallets that change again while this is sent are announced again.
        if not self._outgoing or connection.refused_change:
            return
        sending, self._outgoing = self._outgoing, set()
        try:
            await connection.execute(ANNOUNCE, CHANNEL, _payloads(sending))
        except BaseException:
            self._outgoing |= sending
            raise
        if not self._outgoing:
            self._all_sent.set()


def _session_settings(notify: bool) -> dict[str, str]:
    settings = {"application_name": "videocredits live", "statement_timeout": "5000", **SESSION_SETTINGS}
    if notify:
        settings |= {
            "synchronous_commit": "off",  # A notice is a hint, and need not wait for the disk.
            # PostgreSQL keeps each notice until all who listen have taken it, so it must learn when we are gone.
            "tcp_keepalives_idle": "10",
            "tcp_user_timeout": "20000",
        }
    return settings


def _payloads(wallet_ids: Iterable[UUID]) -> list[str]:
    ids = [wallet_id.bytes for wallet_id in wallet_ids]
    starts = range(0, len(ids), WALLETS_PER_NOTICE)
    return [b64encode(b"".join(ids[start : start + WALLETS_PER_NOTICE])).decode() for start in starts]


def _wallets_in(payload: str) -> list[UUID]:
    """Read a notice; return no wallets for a foreign one, which every client of the database can send."""
    try:
        ids = b64decode(payload, validate=True)
        return [UUID(bytes=ids[start : start + 16]) for start in range(0, len(ids), 16)]
    except ValueError:
        return []
