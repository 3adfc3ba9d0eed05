"""The first tables: users, their ledger, their videos, and what happened to the videos."""

from db.migrate import run_sql_beside

revision = "0001"
down_revision = None
oldest_code = "0001"  # The newest migration of the oldest release that may run on tables so migrated.


def upgrade() -> None:
    run_sql_beside(__file__)
