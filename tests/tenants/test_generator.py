"""The generator: the same bytes for the same arguments, and a world that adds up at every size."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from tests.tenants.support import TENANT, Rows, generate, read

pytestmark = pytest.mark.integration

ONE_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class World:
    """A generated data set and what it was generated for."""

    tables: dict[str, Rows]
    scale: int
    as_of: date


@pytest.fixture(
    scope="module",
    params=[(1, "1887", "2026-06-30"), (2, "7", "2025-03-15"), (4, "42", "2027-01-31")],
    ids=lambda param: f"scale {param[0]}, seed {param[1]}, as of {param[2]}",
)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> World:
    scale, seed, as_of = request.param
    out = tmp_path_factory.mktemp("world")
    result = generate("--scale", str(scale), "--seed", seed, "--as-of", as_of, "--out", str(out))
    assert result.returncode == 0, result.stderr
    return World(read(out), scale, date.fromisoformat(as_of))


def total(rows: Rows, key: str, value: str) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for row in rows:
        found[row[key]] += float(row[value])
    return found


def test_the_committed_data_is_what_the_generator_writes(tmp_path: Path) -> None:
    assert generate("--out", str(tmp_path)).returncode == 0
    committed = {file.name: file.read_bytes() for file in (TENANT / "data").iterdir()}
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert sorted(written) == sorted(committed)
    assert [name for name in written if written[name] != committed[name]] == []


def test_the_committed_data_stays_small() -> None:
    assert sum(file.stat().st_size for file in (TENANT / "data").iterdir()) < 4 * ONE_MEGABYTE


def test_the_committed_load_script_is_what_the_generator_prints() -> None:
    result = generate("--snowflake-sql")
    assert result.returncode == 0, result.stderr
    assert result.stdout == (TENANT / "load_raw.sql").read_text()


def test_another_seed_gives_another_world(tmp_path: Path) -> None:
    assert generate("--seed", "2", "--out", str(tmp_path)).returncode == 0
    name = "depletions.csv"
    assert (tmp_path / name).read_bytes() != (TENANT / "data" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--scale", "0"], "scale"),
        (["--as-of", "1815-06-18"], "as-of"),
        (["--as-of", "soon"], "as-of"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_written(
    arguments: list[str], word: str, tmp_path: Path
) -> None:
    result = generate(*arguments, "--out", str(tmp_path / "out"))
    assert result.returncode == 2
    assert word in result.stderr
    assert not (tmp_path / "out").exists()


def test_the_data_grows_with_the_scale(world: World) -> None:
    assert len(world.tables["distributors"]) == 17 * world.scale
    assert len(world.tables["depletions"]) > 10_000 * world.scale


def test_identifiers_are_unique(world: World) -> None:
    for table, rows in world.tables.items():
        key = next(iter(rows[0]))
        if table in {"fx_rates", "volume_targets"}:  # keyed by more than one column
            continue
        repeated = [
            value for value, count in Counter(row[key] for row in rows).items() if count > 1
        ]
        assert repeated == [], table


def test_nothing_happens_after_the_as_of_date(world: World) -> None:
    events = {
        "depletions": "depleted_on",
        "shipments": "delivered_on",
        "bottling_runs": "bottled_on",
        "casks": "filled_on",
        "cask_gauges": "gauged_on",
        "stock_counts": "counted_on",
    }
    for table, column in events.items():
        latest = max(row[column] for row in world.tables[table])
        assert date.fromisoformat(latest) <= world.as_of, table


def test_no_distributor_sells_what_has_not_arrived(world: World) -> None:
    shipments = {row["shipment_id"]: row for row in world.tables["shipments"]}
    moves: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for line in world.tables["shipment_lines"]:
        shipment = shipments[line["shipment_id"]]
        if shipment["status"] == "delivered":
            key = (shipment["distributor_id"], line["expression_id"])
            moves[key][shipment["delivered_on"][:7]] += int(line["bottles"])
    for row in world.tables["depletions"]:
        key = (row["distributor_id"], row["expression_id"])
        moves[key][row["depleted_on"][:7]] -= int(row["bottles"])
    for key, months in moves.items():
        stock = 0
        for month in sorted(months):
            stock += months[month]
            assert stock >= 0, (key, month)


def test_no_more_is_shipped_than_was_bottled(world: World) -> None:
    status = {row["shipment_id"]: row["status"] for row in world.tables["shipments"]}
    lines = [
        row for row in world.tables["shipment_lines"] if status[row["shipment_id"]] == "delivered"
    ]
    shipped = total(lines, "expression_id", "bottles")
    bottled = total(world.tables["bottling_runs"], "expression_id", "bottles_filled")
    assert [item for item in shipped if shipped[item] > bottled[item]] == []


def test_casks_only_ever_lose_alcohol(world: World) -> None:
    seen: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for row in world.tables["casks"]:
        seen[row["cask_id"]].append((row["filled_on"], float(row["fill_lpa"])))
    for row in world.tables["cask_gauges"]:
        seen[row["cask_id"]].append((row["gauged_on"], float(row["lpa"])))
    for row in world.tables["cask_draws"]:
        seen[row["cask_id"]].append((row["drawn_on"], float(row["lpa_drawn"])))
    assert any(len(observations) > 2 for observations in seen.values())
    for cask, observations in seen.items():
        lpa = [value for _, value in sorted(observations)]
        assert lpa == sorted(lpa, reverse=True), cask


def test_alcohol_is_conserved_from_still_to_bottle(world: World) -> None:
    tables = world.tables
    produced = total(tables["distillation_runs"], "distillation_run_id", "lpa_produced")
    filled = total(tables["casks"], "distillation_run_id", "fill_lpa")
    assert [run for run in filled if filled[run] > produced[run]] == []

    drawn = total(tables["bottling_runs"], "bottling_run_id", "lpa_drawn")
    from_casks = total(tables["cask_draws"], "bottling_run_id", "lpa_drawn")
    assert [run for run in from_casks if abs(from_casks[run] - drawn[run]) > 0.01] == []

    expressions = {row["expression_id"]: row for row in tables["expressions"]}
    for run in tables["bottling_runs"]:
        item = expressions[run["expression_id"]]
        bottle = int(item["bottle_ml"]) / 1000 * float(item["abv_pct"]) / 100
        assert int(run["bottles_filled"]) * bottle <= drawn[run["bottling_run_id"]]


def test_no_bottle_is_younger_than_its_label_says(world: World) -> None:
    tables = world.tables
    filled = {row["cask_id"]: date.fromisoformat(row["filled_on"]) for row in tables["casks"]}
    ages = {
        row["expression_id"]: int(row["age_statement_years"] or 0) for row in tables["expressions"]
    }
    runs = {row["bottling_run_id"]: row["expression_id"] for row in tables["bottling_runs"]}
    for row in tables["cask_draws"]:
        drawn = date.fromisoformat(row["drawn_on"])
        years = drawn.year - filled[row["cask_id"]].year
        birthday_to_come = (drawn.month, drawn.day) < (
            filled[row["cask_id"]].month,
            filled[row["cask_id"]].day,
        )
        assert years - birthday_to_come >= ages[runs[row["bottling_run_id"]]], row


def test_whisky_sells_before_christmas_and_gin_in_summer(world: World) -> None:
    sold: Counter[tuple[str, str]] = Counter()
    for row in world.tables["depletions"]:
        sold[row["expression_id"], row["depleted_on"][5:7]] += int(row["bottles"])
    malt, gin = "E01", "E12"
    assert sold[malt, "12"] > 1.3 * sold[malt, "07"]
    assert sold[gin, "07"] > 1.1 * sold[gin, "12"]
