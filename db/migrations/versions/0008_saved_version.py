"""The version that the newest save of a video made: a save conflicts with other saves, not with reports."""

from db.migrate import run_sql_beside

revision = "0008"
down_revision = "0007"
oldest_code = "0008"  # Older code does not know the outcome `unchanged` of update_video_data.


def upgrade() -> None:
    run_sql_beside(__file__)
