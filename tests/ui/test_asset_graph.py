"""The lineage graph and the runs, as a person with a browser meets them."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.ui.support import (
    TENANT,
    Site,
    button,
    expand_groups,
    materialize_selected,
    node,
    outcome_on_page,
    select_node,
    until,
)

pytestmark = pytest.mark.ui

SLOW = "ui_slow"
_SLOW_SQL = """\
{{ config(materialized="table", schema="ui") }}
select sum(a.range * b.range) as total from range(3000000) as a, range(300000) as b
"""
_PREPARED = ("manifest.json", "digest.json", "partial_parse.msgpack", "state.json")


@pytest.fixture(scope="module")
def slow_model(site: Site) -> str:
    """A new model in the copy of the tenant; on DuckDB it takes hours."""
    folder = site.models / "ui"
    folder.mkdir()
    (folder / f"{SLOW}.sql").write_text(_SLOW_SQL)
    return SLOW


def test_the_lineage_graph_shows_groups_and_on_demand_the_models_of_one(site: Site, page: Page):
    page.goto(f"{site.url}/asset-groups")
    graph = page.locator("foreignObject")
    for group in ("staging", "reference_data", "supply_analytics", "commercial_analytics"):
        expect(graph.get_by_text(group, exact=True)).to_be_visible()
    assert page.locator("svg path[marker-end]").count() >= 5

    group = graph.filter(has_text="supply_analytics")
    group.get_by_role("img", name="unfold_more").click()

    expect(page.locator('foreignObject [data-tooltip^="mart_"]').first).to_be_visible()


def test_an_asset_is_shown_with_its_kinds_checks_and_edges(site: Site, page: Page, tmp_path: Path):
    page.goto(site.lineage('+key:"*mart_distillery_output"'))
    expand_groups(page)

    for name in ("mart_distillery_output", "stg_distillation_runs", "distilleries"):
        expect(node(page, name)).to_be_visible()
    mart = node(page, "mart_distillery_output")
    for text in ("dbt", "DuckDB", "Table", "Never materialized"):
        expect(mart.get_by_text(text, exact=True)).to_be_visible()
    expect(mart.get_by_text("Asset checks")).to_be_visible()
    assert page.locator("svg path[marker-end]").count() >= 3
    page.screenshot(path=tmp_path / "lineage.png")


def test_a_materialization_started_in_the_browser_succeeds(site: Site, page: Page):
    page.goto(site.lineage('key:"*stg_fx_rates"'))
    select_node(page, "stg_fx_rates")
    run_id = materialize_selected(page)

    page.goto(f"{site.url}/runs/{run_id}")

    assert outcome_on_page(page) == "Success"
    asset = site.asset("staging", "stg_fx_rates")
    assert asset
    assert asset["assetMaterializations"] == [{"runId": run_id}]
    checks = asset["assetChecksOrError"]["checks"]
    executions = [check["executionForLatestMaterialization"] for check in checks]
    assert executions == [{"status": "SUCCEEDED", "runId": run_id}] * len(checks)
    assert checks


def test_a_build_from_the_command_line_is_listed_with_its_checks(site: Site, page: Page):
    # dbt would also test what refers to these, and is not built
    chosen = ("--select", "+dim_markets", "--exclude", "relationships_*")
    build = site.apollo("build", TENANT, *chosen, "--json")
    assert build.returncode == 0, build.stdout + build.stderr
    run_id = json.loads(build.stdout)[TENANT]["run_id"]

    page.goto(f"{site.url}/runs")
    row = page.locator(f'div:has(a[href="/runs/{run_id}"])', has_text="Success").last
    expect(row.get_by_text("Success", exact=True)).to_be_visible()
    expect(row.get_by_text(f"{TENANT}_build", exact=True)).to_be_visible()

    page.goto(site.lineage('key:"*dim_markets"'))
    asset = site.asset("marts", "dim_markets")
    assert asset
    count = len(asset["assetChecksOrError"]["checks"])
    mart = node(page, "dim_markets")
    expect(mart.get_by_text(f"{count} / {count} Passed")).to_be_visible()
    expect(mart.get_by_role("img", name="done")).to_be_visible()
    expect(mart.get_by_text("Materialized", exact=True)).to_be_visible()


def test_a_reload_without_a_change_starts_no_dbt(site: Site, page: Page):
    before = _prepared(site)

    _reload_definitions(site, page)

    assert _prepared(site) == before


def test_a_reload_brings_a_new_model_into_the_graph(site: Site, page: Page, slow_model: str):
    before = _prepared(site)

    _reload_definitions(site, page)

    assert _prepared(site) != before
    asset = site.asset("ui", slow_model)
    assert asset
    assert asset["groupName"] == "ui"
    page.goto(site.lineage(f'key:"*{slow_model}"'))
    expect(node(page, slow_model).get_by_text("Never materialized")).to_be_visible()


def test_a_run_terminated_in_the_browser_stops_its_dbt(site: Site, page: Page, slow_model: str):
    if not site.asset("ui", slow_model):  # this test runs by itself
        _reload_definitions(site, page)
    page.goto(site.lineage(f'key:"*{slow_model}"'))
    select_node(page, slow_model)
    run_id = materialize_selected(page)
    page.goto(f"{site.url}/runs/{run_id}")
    log = site.paths.runs / run_id / "dbt.log"
    until("dbt builds the model", lambda: log.exists() and "START sql table" in log.read_text())
    assert site.processes("launcher.py build")

    button(page, "Terminate").click()
    button(page, "Terminate 1 run").click()

    canceled = page.get_by_text("Canceled", exact=True).first
    canceled.wait_for(timeout=45_000)
    assert site.run_status(run_id) == "CANCELED"
    until("dbt has ended", lambda: not site.processes("launcher.py build"), 5)


def _reload_definitions(site: Site, page: Page) -> None:
    """Click the button, and wait for the answer to what the page then asked for."""
    page.goto(f"{site.url}/asset-groups")
    with page.expect_response(lambda it: "mutation Reload" in (it.request.post_data or "")) as it:
        button(page, "Reload definitions").click()
    assert "errors" not in it.value.json()
    location = site.location()
    assert location["loadStatus"] == "LOADED"
    assert "message" not in location["locationOrLoadError"]


def _prepared(site: Site) -> list[tuple[int, int]]:
    """Which files hold the preparation's results, and since when."""
    stats = [(site.paths.prepared / name).stat() for name in _PREPARED]
    return [(stat.st_ino, stat.st_mtime_ns) for stat in stats]
