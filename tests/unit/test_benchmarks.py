"""What the benchmarks decide without measuring: whose time it is, what counts, what is shown."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.__main__ import named
from benchmarks.bench import FULL, QUICK, with_rounds
from benchmarks.measurements import SIDES, rotated
from benchmarks.opened import tenants_of
from benchmarks.plot import nice_step, spread, to_svg
from benchmarks.postgres import count_statements
from benchmarks.process import Look, descendants, is_dbt_build, latest
from benchmarks.registry import all_measurements
from benchmarks.scale import scale_measurements
from benchmarks.scale_table import Column
from benchmarks.scale_table import from_json as columns_from_json
from benchmarks.scale_table import merge as merge_columns
from benchmarks.scale_table import to_json as columns_to_json
from benchmarks.scale_table import to_markdown as columns_to_markdown
from benchmarks.table import (
    BEGIN,
    END,
    Row,
    from_json,
    in_order,
    merge,
    missing,
    put_between_markers,
    taken_text,
    to_json,
    to_markdown,
)

pytestmark = pytest.mark.unit

LOG = """\
benchmark database=run_1 LOG:  statement: BEGIN
benchmark database=run_1 LOG:  statement: insert into t
\tvalues (1)
benchmark database=run_1 LOG:  execute <unnamed>: select 1
benchmark database=run_2 LOG:  statement: select 2
benchmark database=run_1 ERROR:  no such table
benchmark database= LOG:  checkpoint starting: time
benchmark database=run_1 LOG:  statement: COMMIT
"""


def test_statements_are_counted_by_database_and_without_begin_and_commit() -> None:
    assert count_statements(LOG, "run_1") == 2
    assert count_statements(LOG, "run_2") == 1
    assert count_statements(LOG, "run_3") == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["/venv/bin/python", "/venv/bin/dbt", "--log-format", "json", "build"], True),
        (["/venv/bin/python", "/apollo/dbt/launcher.py", "build", "--select", "fqn:*"], True),
        (["/venv/bin/python", "/venv/bin/dbt", "--version"], False),
        (["/venv/bin/python", "/apollo/dbt/launcher.py", "parse"], False),
        (["/venv/bin/python", "-m", "dagster_apollo.cli", "build", "bench"], False),
        (["/venv/bin/python", "/venv/bin/dagster", "job", "execute", "-j", "build"], False),
        ([], False),
    ],
)
def test_only_the_build_of_dbt_is_not_a_cost_of_orchestration(
    arguments: list[str], expected: bool
) -> None:
    assert is_dbt_build(arguments) is expected


def test_all_processes_below_one_are_found() -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1, 21: 20}
    assert descendants(10, parents) == {10, 11, 12}


def test_a_process_that_has_ended_keeps_its_name() -> None:
    alive = Look(cpu_seconds=2.0, peak_mb=100.0, arguments=("dbt", "build"))
    ended = Look(cpu_seconds=2.5, peak_mb=0.0, arguments=())
    assert latest(alive, ended) == Look(2.5, 100.0, ("dbt", "build"))
    assert latest(None, ended) == ended


def test_each_side_is_first_in_one_round() -> None:
    rounds = [rotated(SIDES, number) for number in range(len(SIDES))]
    assert [sides[0] for sides in rounds] == list(SIDES)
    assert all(sorted(sides) == sorted(SIDES) for sides in rounds)


def test_the_quick_form_measures_all_that_the_full_one_does() -> None:
    quick, full = (
        [name.partition("-")[0] for name in all_measurements(sizes)] for sizes in (QUICK, FULL)
    )
    assert set(quick) == set(full)
    assert {"run-100", "run-1000"} <= all_measurements(FULL).keys()
    assert [models * 4 for models in FULL.growth] == [500, 5000]


def test_a_scale_is_measured_in_columns_of_two_tables_in_both_forms() -> None:
    assert set(scale_measurements(FULL)) == {
        *("scale-tenants-1", "scale-tenants-10", "scale-tenants-100"),
        *("scale-models-3000", "scale-models-10000"),
    }
    assert scale_measurements(QUICK).keys() <= QUICK.left_out
    old = [Column("a-1", "1", {"time": "1 s"}), Column("b-5", "5", {"size": "2 MB"})]
    new = Column("a-9", "9", {"time": "3 s", "memory": "4 MB"})
    columns = merge_columns(old, new, ["a-1", "a-9", "b-5"])
    heads = {"a": "tenants", "b": "models", "c": "of which nothing is measured yet"}
    _, _, *lines = columns_to_markdown(columns, heads, {"x": "y"}).split("\n")
    assert lines == [
        *("| tenants | 1 | 9 |", "| --- | --- | --- |", "| time | 1 s | 3 s |"),
        *("| memory | - | 4 MB |", "", "| models | 5 |", "| --- | --- |", "| size | 2 MB |", ""),
    ]
    [again] = columns_from_json(columns_to_json([new], {}))
    assert again == replace(new, samples=[])


def test_files_are_counted_by_the_tenant_whose_they_are() -> None:
    opened = [
        "/a/tenants/dbt_acme/x.yml",
        "/a/home/tenants/acme/state.json",
        "/a/home/dagster.yaml",
    ]
    roots = [Path("/a/tenants"), Path("/a/home/tenants")]
    assert tenants_of([*opened, "/a/tenants/zenith/x"], roots) == ["acme", "acme", "zenith"]


def test_a_measurement_is_asked_for_by_its_name_or_by_how_it_begins() -> None:
    names = ["run-100", "run-1000", "scale-tenants-1", "scale-tenants-10"]
    assert named("run-100", names) == ["run-100"]
    assert named("scale-tenants", names) == names[2:]
    assert named("scal", names) == []


def test_all_can_be_measured_as_often_as_asked() -> None:
    sizes = with_rounds(FULL, 7)
    assert set(sizes.runs) == set(FULL.runs)
    rounds = (sizes.start_rounds, sizes.definitions_rounds, sizes.service_rounds)
    assert {*sizes.runs.values(), *rounds} == {7}


def test_a_new_row_takes_the_place_of_the_old_one() -> None:
    old = [Row("a", "old"), Row("b", "old")]
    rows = in_order(merge(old, [Row("c", "new"), Row("a", "new")]), ["a", "b", "c"])
    assert [(row.key, row.what) for row in rows] == [("a", "new"), ("b", "old"), ("c", "new")]


def test_a_measurement_without_a_result_is_a_row_that_says_so() -> None:
    (row,) = missing([Row("a", "measured")], ["a", "b"])
    assert row.key == "b"
    assert "no run" in row.result


def test_rows_survive_their_file() -> None:
    row = Row("a", "what", reached=True, samples=[{"side": "apollo", "seconds": 1.5}])
    assert from_json(to_json([row], {})) == [row]


def test_the_table_says_what_is_not_reached_and_what_is_not_measured() -> None:
    sample = [{"seconds": 1}]
    rows = [
        Row("a", "one", reached=True, samples=sample),
        Row("b", "two", result="a|b", reached=False, samples=sample),
        Row("c", "three", samples=sample),
        Row("d", "four", result="no harness"),
    ]
    about, _, *table = to_markdown(rows, {"Machine": "a big one"}).splitlines()
    assert about.strip() == "Machine: a big one"
    assert [line.rpartition("| ")[0] and line.split("|")[-2].strip() for line in table[2:]] == [
        "yes",
        "**no**",
        "-",
        "not measured yet",
    ]
    assert r"a\|b" in table[3]


def test_the_table_says_when_its_rows_were_taken_and_how_busy_the_machine_was() -> None:
    moments = [
        {"date": "2026-01-01 10:00 UTC", "commit": "b", "load": "10.5"},
        {"date": "2026-01-01 09:00 UTC", "commit": "a", "load": "9.0"},
    ]
    rows = [Row("a", "one", taken=moments[0]), Row("b", "two", taken=moments[1]), Row("c", "three")]
    assert taken_text(rows) == (
        "2026-01-01 09:00 UTC to 2026-01-01 10:00 UTC, commit a, b, "
        "load 9.0 to 10.5 before each row"
    )
    assert taken_text(rows[2:]) == "nothing yet"


def test_the_table_goes_between_the_markers_only() -> None:
    document = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = put_between_markers(document, "new \\1")
    assert once == f"before\n{BEGIN}\n\nnew \\1\n{END}\nafter\n"
    assert put_between_markers(once, "new \\1") == once


@pytest.mark.parametrize("document", ["none", f"{BEGIN}\n{END}\n{BEGIN}\n{END}"])
def test_a_document_without_one_pair_of_markers_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="one pair"):
        put_between_markers(document, "table")


@pytest.mark.parametrize(
    ("most", "step"), [(0, 1), (4, 1), (5, 1), (5.1, 2), (23, 5), (4000, 1000), (0.3, 0.1)]
)
def test_ticks_are_round_numbers(most: float, step: float) -> None:
    assert nice_step(most) == pytest.approx(step)


def test_labels_do_not_lie_upon_each_other() -> None:
    assert spread([20, 10, 12], 15) == [40, 10, 25]
    assert spread([], 15) == []


def test_the_plot_is_an_image_with_a_line_for_each_series() -> None:
    points = {"a & b": [(1.0, 2.0), (0.0, 0.0)], "none": []}
    root = ElementTree.fromstring(to_svg(points, title="t", x="x", y="y"))
    namespace = "{http://www.w3.org/2000/svg}"
    (line,) = root.iter(f"{namespace}polyline")
    xs = [float(pair.split(",")[0]) for pair in line.attrib["points"].split()]
    assert xs == sorted(xs)
    assert "a & b" in [text.text for text in root.iter(f"{namespace}text")]
