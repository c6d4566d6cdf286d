"""`apollo webserver`."""

from dagster_apollo.services.signals import StopSignals

_DEFAULT_PORT = 3000


def run(*, host: str, port: int | None) -> int:
    """Serve the UI until it is asked to stop.

    Returns:
        The exit code.

    Raises:
        ApolloError: the webserver cannot run in this environment.
    """
    signals = StopSignals().install()  # before the imports, which take seconds
    from dagster_apollo.services.log import configure_logging
    from dagster_apollo.web.server import run_webserver

    configure_logging()
    return run_webserver(host, port, _DEFAULT_PORT, signals)
