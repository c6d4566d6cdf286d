"""Each data test of the tenant finds what it is there for: raw data is spoilt to prove it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.tenants.support import Project, Rows, read, succeeded, write

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Blemish:
    """What is done to one raw table, and the data test that must notice."""

    table: str
    spoil: Callable[[Rows], None]
    test: str


def sell_too_much(rows: Rows) -> None:
    rows[0]["bottles"] = "1000000"


def refill_a_cask_unseen(rows: Rows) -> None:
    rows[0]["lpa"] = "900.00"


def empty_a_cask_too_young(rows: Rows) -> None:
    rows[-1]["drawn_on"] = "2005-01-01"


def bottle_more_than_was_drawn(rows: Rows) -> None:
    rows[0]["bottles_filled"] = "500000"


def empty_a_cask_twice(rows: Rows) -> None:
    rows.append(rows[0] | {"cask_draw_id": "W-again"})


def make_less_than_was_filled(rows: Rows) -> None:
    rows[0]["lpa_produced"] = "1.00"


def ship_more_than_was_bottled(rows: Rows) -> None:
    rows[-1]["bottles"] = "9000000"  # to another distributor than the one that sells too much


BLEMISHES = (
    Blemish("depletions", sell_too_much, "assert_depletions_never_exceed_shipments"),
    Blemish("cask_gauges", refill_a_cask_unseen, "assert_casks_never_gain_alcohol"),
    Blemish("cask_draws", empty_a_cask_too_young, "assert_age_statements_are_kept"),
    Blemish("bottling_runs", bottle_more_than_was_drawn, "assert_bottled_alcohol_was_drawn"),
    Blemish("cask_draws", empty_a_cask_twice, "assert_no_cask_is_emptied_twice"),
    Blemish("distillation_runs", make_less_than_was_filled, "assert_stills_made_what_casks_hold"),
    Blemish("shipment_lines", ship_more_than_was_bottled, "assert_bottled_before_shipped"),
)


@pytest.fixture(scope="module")
def spoilt(project: Project, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Data tests that fail once every blemish is in the raw data, all in one build."""
    work = tmp_path_factory.mktemp("spoilt")
    folder = work / "tenant"
    shutil.copytree(project.folder, folder)
    shutil.copy(project.work / "profiles.yml", work)
    tables = read(folder / "data")
    for blemish in BLEMISHES:
        blemish.spoil(tables[blemish.table])
        write(folder / "data" / f"{blemish.table}.csv", tables[blemish.table])
    copy = replace(project, folder=folder, work=work)
    chosen = [f"+{blemish.test}" for blemish in BLEMISHES]
    succeeded(copy.dbt("seed"))
    succeeded(copy.dbt("run", "--select", *chosen))
    copy.dbt("test", "--select", *(blemish.test for blemish in BLEMISHES), name="tests")
    results = copy.artifact("run_results", "tests")["results"]
    return {row["unique_id"].split(".")[-1] for row in results if row["status"] == "fail"}


@pytest.mark.parametrize("blemish", BLEMISHES, ids=lambda blemish: blemish.test)
def test_a_spoilt_record_is_found(blemish: Blemish, spoilt: set[str]) -> None:
    assert blemish.test in spoilt
