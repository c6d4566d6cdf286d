"""What the services print."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

PROGRAM = """
import logging
from dagster_apollo.services.log import configure_logging
configure_logging()
logging.basicConfig(level=logging.INFO)
logging.getLogger("apollo.web").info("once")
"""


def test_a_line_is_printed_once_whatever_logs_at_the_root() -> None:
    printed = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert (printed.stdout + printed.stderr).count("once") == 1
