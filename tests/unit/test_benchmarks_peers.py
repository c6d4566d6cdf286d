"""What the benchmarks decide about peers: where each is installed, and how a failure is told."""

import re

import pytest

from benchmarks.peers.environments import PEERS, folder_of
from benchmarks.peers.rows import reason_of
from benchmarks.process import CommandError
from dagster_apollo.paths import CHECKOUT

pytestmark = pytest.mark.unit

NAMES = ("prefect", "cosmos")


def pinned(requirements: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", requirements, re.MULTILINE))


def test_other_requirements_make_another_environment() -> None:
    assert folder_of("prefect", b"a==1") == folder_of("prefect", b"a==1")
    assert len({folder_of("prefect", b"a==1"), folder_of("prefect", b"a==2")}) == 2


def test_a_failure_is_one_line_of_the_table() -> None:
    text = "uv pip install: exit code 1\n  No solution found\n  because a needs b\n\n"
    assert reason_of(CommandError(text)) == "not measured: because a needs b"
    assert len(reason_of(CommandError("x" * 1000))) < 250
    assert reason_of(OSError()) == "OSError"


@pytest.mark.parametrize("name", NAMES)
def test_peers_run_the_dbt_that_the_others_run_and_name_no_index(name: str) -> None:
    text = (PEERS / name / "requirements.txt").read_text()
    theirs, ours = pinned(text), pinned((CHECKOUT / "requirements-dev.txt").read_text())
    for package in ("dbt-core", "dbt-duckdb", "duckdb"):
        assert theirs[package] == ours[package], "change requirements.in, then `make lock-peers`"
    assert "://" not in text
    assert text.count("--hash=sha256:") >= len(theirs) > 50
