"""All tables; what was before is not taken over: see ``db.migrate.unfit_reason``."""

from db.migrate import run_sql_beside

revision = "0009"
down_revision = None
oldest_code = "0009"


def upgrade() -> None:
    run_sql_beside(__file__)
