"""What the services log, and how."""

import logging
import sys
from typing import Final

_FORMAT: Final = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"


def configure_logging() -> None:
    """Log as Dagster's own commands do, to standard output; in colour on a terminal only."""
    from dagster._utils.log import configure_loggers

    configure_loggers()
    handlers = logging.getLogger("dagster").handlers
    if not sys.stdout.isatty():
        for handler in handlers:
            handler.setFormatter(logging.Formatter(_FORMAT))
    logger = logging.getLogger("apollo")
    logger.handlers = list(handlers)
    logger.propagate = False  # a handler at the root would print each line once more
    logger.setLevel(logging.INFO)


def configure_plain_logging() -> None:
    """Log in the same form where nothing of Dagster's is, nor is to be, imported."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=_FORMAT)
