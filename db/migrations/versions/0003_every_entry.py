"""The trigger that explains balances looks at each of a statement's entries for a user, not at the newest alone."""

from db.migrate import run_sql_beside

revision = "0003"
down_revision = "0002"
oldest_code = "0001"  # The newest migration of the oldest release that may run on tables so migrated.


def upgrade() -> None:
    run_sql_beside(__file__)
