"""`apollo daemon`."""

from dagster_apollo.services.signals import StopSignals


def run() -> int:
    """Run the daemon until it is asked to stop.

    Returns:
        The exit code.

    Raises:
        ApolloError: the daemon cannot run in this environment.
    """
    signals = StopSignals().install()  # before the imports, which take seconds
    from dagster_apollo.services.daemon import run_daemon
    from dagster_apollo.services.log import configure_logging

    configure_logging()
    return run_daemon(signals)
