"""The large content of videos in a table of its own."""

from db.migrate import run_sql_beside

revision = "0007"
down_revision = "0006"
oldest_code = "0007"  # Older code looks for the content in its old place.


def upgrade() -> None:
    run_sql_beside(__file__)
