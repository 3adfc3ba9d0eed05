"""What users hold and begin is counted on their rows: bytes of their videos' content, and attempts of a day."""

from db.migrate import run_sql_beside

revision = "0006"
down_revision = "0005"
oldest_code = "0006"  # Older code counts nothing, so it may not run on tables so migrated.


def upgrade() -> None:
    run_sql_beside(__file__)
