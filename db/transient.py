"""Transient faults: what PostgreSQL or the way to it fails with although the statement is right.

Every statement here may be run again: an idempotency key, or the request's identity, shows whether it has happened.
"""

from math import inf
from typing import NamedTuple

import asyncpg


class Transient(NamedTuple):
    """How to go on after a fault."""

    rerun_seconds: float = inf  # For so long since its first attempt the statement is rerun; then the answer is RETRY.
    drops_connection: bool = False  # Whether the connection is of no more use. (FATAL ones have closed it anyway.)


# Every other SQLSTATE is a fault of the statement, of the tables or of PostgreSQL itself, and a rerun would meet it
# again: 40002 (a constraint), 42xxx, 54xxx (the statement is too large), 58P01 to 58P03 (a file is missing or in the
# way until somebody mends it), XX000 to XX002 (a bug or corruption, which nobody should retry quietly).
TRANSIENT = {
    "08000": Transient(drops_connection=True),  # The connection is lost: 08000 to 08P01.
    "08001": Transient(drops_connection=True),
    "08003": Transient(drops_connection=True),
    "08004": Transient(drops_connection=True),
    "08006": Transient(drops_connection=True),
    "08007": Transient(drops_connection=True),  # The server cannot tell whether it has committed; the rerun can.
    "08P01": Transient(drops_connection=True),  # Poolers report with it that their own server is gone.
    "25006": Transient(2, drops_connection=True),  # Read-only: a failover is under way, or somebody has locked it.
    "25P03": Transient(drops_connection=True),  # idle_in_transaction_session_timeout has ended the session.
    "25P04": Transient(drops_connection=True),  # transaction_timeout has.
    "40000": Transient(),  # The transaction was rolled back: because of
    "40001": Transient(),  # another one that ran beside it, or a standby's replay,
    "40003": Transient(),  # or nobody knows whether it was,
    "40P01": Transient(),  # or a deadlock.
    "53000": Transient(),  # Out of some resource that others may return,
    "53100": Transient(0),  # of disk space, which nobody frees within a request's time: waiting would hold up reads,
    "53200": Transient(drops_connection=True),  # of memory, of which the session itself may hold much,
    "53300": Transient(),  # of connections,
    "53400": Transient(0),  # of what the configuration grants, such as temp_file_limit: the same statement needs it.
    "55P03": Transient(),  # Another transaction has held a lock for too long.
    "57000": Transient(),  # An operator intervened:
    "57014": Transient(0),  # canceled the statement, as statement_timeout does when the request's time is up,
    "57P01": Transient(drops_connection=True),  # ended the session or the server,
    "57P02": Transient(drops_connection=True),  # another session crashed,
    "57P03": Transient(drops_connection=True),  # the server is starting or stopping,
    "57P04": Transient(drops_connection=True),  # the database was dropped, as before it is restored,
    "57P05": Transient(drops_connection=True),  # idle_session_timeout has ended the session.
    "58000": Transient(0, drops_connection=True),  # The server's operating system fails,
    "58030": Transient(0, drops_connection=True),  # or its storage: there may be another server by the next request.
}
READ_ONLY = "25006"


def transient(error: Exception) -> Transient | None:
    """Tell how to go on after an error, or None when a rerun would meet it again."""
    if isinstance(error, asyncpg.PostgresError):
        return TRANSIENT.get(error.sqlstate or "")
    return Transient() if isinstance(error, OSError) else None
