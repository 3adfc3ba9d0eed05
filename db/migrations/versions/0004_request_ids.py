"""Where the ids of requests are stored, by which a rerun after a lost reply recognizes its own work."""

from db.migrate import run_sql_beside

revision = "0004"
down_revision = "0003"
oldest_code = "0001"  # The newest migration of the oldest release that may run on tables so migrated.


def upgrade() -> None:
    run_sql_beside(__file__)
