"""What the services log, and how."""

import logging
import sys
from typing import Final

from dagster._utils.log import configure_loggers

FORMAT: Final = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"


def configure_logging() -> None:
    """Log as Dagster's own commands do, to standard output; in colour on a terminal only."""
    configure_loggers()
    handlers = logging.getLogger("dagster").handlers
    if not sys.stdout.isatty():
        for handler in handlers:
            handler.setFormatter(logging.Formatter(FORMAT))
    logger = logging.getLogger("apollo")
    logger.handlers = list(handlers)
    logger.setLevel(logging.INFO)
