"""What the services log, and how."""

import logging

from dagster._utils.log import configure_loggers


def configure_logging() -> None:
    """Log as Dagster's own commands do, Apollo's messages among Dagster's: to standard output."""
    configure_loggers()
    logger = logging.getLogger("apollo")
    logger.handlers = list(logging.getLogger("dagster").handlers)
    logger.setLevel(logging.INFO)
