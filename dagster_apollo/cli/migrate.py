"""`apollo migrate`."""

from rich.console import Console

from dagster_apollo.instance.home import RELEASE_CONFIG, open_instance
from dagster_apollo.instance.schema import migrate
from dagster_apollo.services.contract import load_services


def run_migrate() -> None:
    """Bring the database's schema to the one of this release.

    Raises:
        ApolloError: bad configuration, no database, or a schema that is ahead of the code.
    """
    console = Console(stderr=True, highlight=False)
    settings = load_services()

    def upgrade_dagster() -> None:
        with open_instance(settings.dagster_home, RELEASE_CONFIG) as instance:
            instance.upgrade()

    migrate(settings.dagster_pg_uri, upgrade_dagster, lambda step: console.print(f"  {step}"))
