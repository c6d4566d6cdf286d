"""`apollo code-server`."""

from dagster_apollo.services.code_server import run_code_server
from dagster_apollo.services.contract import load_services
from dagster_apollo.services.log import configure_plain_logging
from dagster_apollo.services.signals import StopSignals

_DEFAULT_PORT = 4000


def run(*, host: str, port: int | None) -> int:
    """Run the code server until it is asked to stop.

    Returns:
        The exit code.

    Raises:
        ApolloError: the code server cannot run in this environment.
    """
    signals = StopSignals().install()
    configure_plain_logging()
    settings = load_services()
    return run_code_server(settings, host, port or settings.port or _DEFAULT_PORT, signals)
