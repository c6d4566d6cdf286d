"""What holds for every test: its layer, what it may see, and when it may be skipped."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Mapping

import pytest

from dagster_apollo.paths import CHECKOUT

LAYERS = ("unit", "integration", "ui")
REQUIRE_ALL = "APOLLO_REQUIRE_ALL"
"""Set to 1 where every part that a test needs must be there (CI): then a skip is a failure."""

_APOLLO_READS = re.compile(r"(SNOWFLAKE|DBT|DAGSTER|APOLLO)_|\w+?__(SNOWFLAKE|DBT)_")
_ACCOUNT = tuple(f"SNOWFLAKE_{it}" for it in ("ACCOUNT", "USER", "ROLE", "WAREHOUSE", "DATABASE"))
_KEYS = tuple(f"SNOWFLAKE_PRIVATE_KEY_{it}" for it in ("PEM", "B64", "PATH"))
_taken = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Take a developer's own settings away, before a test module is even imported."""
    taken = {
        name: os.environ.pop(name)
        for name in list(os.environ)
        if _APOLLO_READS.match(name) and name != REQUIRE_ALL
    }
    # a worker of pytest-xdist starts in the environment that is left; see below
    config.stash[_taken] = getattr(config, "workerinput", {}).get("taken", taken)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:
    node.workerinput["taken"] = node.config.stash[_taken]


def pytest_report_header() -> str | None:
    if (CHECKOUT / ".env").exists():
        return "warning: there is a .env in the checkout; tests that start `apollo` will read it"
    return None


@pytest.fixture
def snowflake_account(
    pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, str]:
    """Give one test (marked `snowflake`) the variables that pytest was started with back."""
    for name, value in pytestconfig.stash[_taken].items():
        monkeypatch.setenv(name, value)
    return os.environ


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = _missing(config.stash[_taken])
    if missing:
        skip = pytest.mark.skip(reason=f"no Snowflake account: {missing} is not set")
        for item in items:
            if item.get_closest_marker("snowflake"):
                item.add_marker(skip)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    expected = hasattr(report, "wasxfail") or item.get_closest_marker("snowflake")
    if report.skipped and not expected:
        _fail_if_all_are_required(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.skipped:
        _fail_if_all_are_required(report)
    items = [it for it in report.result or () if isinstance(it, pytest.Item)]
    lost = [item.name for item in items if len(_layers(item)) != 1]
    if lost:
        report.outcome = "failed"
        report.longrepr = (
            f"Each test needs exactly one of the markers {', '.join(LAYERS)}, such as "
            f"`pytestmark = pytest.mark.unit` for a module; not so: {', '.join(lost)}"
        )
    return report


def _fail_if_all_are_required(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get(REQUIRE_ALL) != "1":
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{REQUIRE_ALL}=1 allows no skipped test, but this was one: {reason}"


def _layers(item: pytest.Item) -> set[str]:
    return {mark.name for mark in item.iter_markers() if mark.name in LAYERS}


def _missing(variables: Mapping[str, str]) -> str | None:
    """The first variable of a real account that is not set."""
    for name in _ACCOUNT:
        if not variables.get(name):
            return name
    return None if any(variables.get(name) for name in _KEYS) else f"none of {', '.join(_KEYS)}"
