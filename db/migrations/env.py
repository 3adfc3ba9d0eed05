"""What alembic runs for each upgrade: the transaction is already there, so it only joins in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
