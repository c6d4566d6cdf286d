"""What Alembic runs: the revisions of versions/, on the connection that schema.py hands over."""

from alembic import context

from dagster_apollo.instance.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    version_table=VERSION_TABLE,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
