"""Where the ids of requests are stored, by which a rerun after a lost reply recognizes its own work."""

from db.migrate import run_sql_beside

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run_sql_beside(__file__)
