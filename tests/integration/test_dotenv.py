"""`.env` in a checkout: the real environment wins over it, in Dagster's own commands, too."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dagster_apollo.paths import CHECKOUT
from tests.integration.conftest import SMALL

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux's /proc"),
]

Validate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own, with one small tenant."""
    root = tmp_path_factory.mktemp("dotenv") / "checkout"
    shutil.copytree(CHECKOUT / "dagster_apollo", root / "dagster_apollo")
    shutil.copytree(SMALL, root / "tenants" / "dbt_small")
    shutil.copy(CHECKOUT / "pyproject.toml", root)
    return root


@pytest.fixture
def validate(checkout: Path) -> Validate:
    """Write `.env` and run `dagster definitions validate` with some real variables."""

    def run(dotenv: str, **real: str) -> "subprocess.CompletedProcess[str]":
        (checkout / ".env").write_text(dotenv)
        host = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "dagster", "definitions", "validate"],
            cwd=checkout,
            env={**host, "PYTHONPATH": str(checkout), **real},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def test_dagsters_commands_read_dotenv(validate: Validate) -> None:
    result = validate("DBT_THREADS=0\n")
    assert result.returncode == 1
    assert "DBT_THREADS: is out of range" in result.stdout + result.stderr


def test_the_real_target_wins_over_dotenv(validate: Validate) -> None:
    result = validate("DBT_TARGET=local\n", DBT_TARGET="prod")
    assert result.returncode == 1
    assert "target prod needs it" in result.stdout + result.stderr


def test_production_is_refused_in_dotenv(validate: Validate) -> None:
    result = validate("DBT_TARGET=prod\n")
    assert result.returncode == 1
    assert "is set to the production target in .env" in result.stdout + result.stderr


def test_the_real_environment_is_enough(validate: Validate) -> None:
    assert validate("DBT_THREADS=0\n", DBT_THREADS="2").returncode == 0
