"""The type that functions of mutations answer with when a quota refuses."""

from db.migrate import run_sql_beside

revision = "0006"
down_revision = "0005"
oldest_code = "0005"


def upgrade() -> None:
    run_sql_beside(__file__)
