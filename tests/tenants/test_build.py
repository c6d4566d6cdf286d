"""A build on DuckDB: all green, twice, and with the numbers that the raw data says."""

from __future__ import annotations

from collections import defaultdict
from datetime import date

import pytest

from tests.tenants.support import Project, Rows, statuses, succeeded

pytestmark = pytest.mark.integration

Raw = dict[str, Rows]


def bottle_ml(raw: Raw) -> dict[str, int]:
    return {row["expression_id"]: int(row["bottle_ml"]) for row in raw["expressions"]}


def markets(raw: Raw) -> dict[str, str]:
    return {row["distributor_id"]: row["market_code"] for row in raw["distributors"]}


def test_all_of_a_first_build_passes_without_a_warning(built: Project) -> None:
    found = statuses(built.artifact("run_results"))
    assert set(found) <= {"success", "pass", "no-op"}
    assert found["pass"] > 300


def test_a_second_build_passes_and_adds_nothing(built: Project) -> None:
    tables = ("fct_shipments", "fct_depletions")
    counting = " union all ".join(f"select count(*) from marts.{table}" for table in tables)
    history = "select count(*) from snapshots.snap_cask_stock"
    before = built.query(counting), built.query(history)
    succeeded(
        built.dbt("--warn-error", "build", "--exclude-resource-type", "unit_test", name="again")
    )
    assert set(statuses(built.artifact("run_results", "again"))) <= {"success", "pass", "no-op"}
    assert (built.query(counting), built.query(history)) == before


def test_sources_are_fresh_whatever_the_year(built: Project) -> None:
    succeeded(built.dbt("source", "freshness", name="freshness"))
    results = built.artifact("sources", "freshness")["results"]
    assert {result["status"] for result in results} == {"pass"}
    assert len(results) >= 10


def test_brand_volume_is_what_the_depletions_add_up_to(built: Project, raw: Raw) -> None:
    brand = {row["expression_id"]: row["brand_id"] for row in raw["expressions"]}
    millilitres = bottle_ml(raw)
    year, last_month = max(row["depleted_on"] for row in raw["depletions"])[:7].split("-")
    expected: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in raw["depletions"]:
        sold_in, month, _ = row["depleted_on"].split("-")
        cases = int(row["bottles"]) * millilitres[row["expression_id"]] / 9000
        if sold_in == year:
            expected[brand[row["expression_id"]]][0] += cases
        elif int(sold_in) == int(year) - 1 and month <= last_month:
            expected[brand[row["expression_id"]]][1] += cases
    found = built.query(
        "select brand_id, nine_litre_cases, prior_year_nine_litre_cases, volume_change_pct"
        f" from marts.mart_brand_performance_yoy where calendar_year = {year}"
    )
    assert len(found) == len(raw["brands"])
    for brand_id, cases, prior, change in found:
        this_year, last_year = expected[brand_id]
        assert float(cases) == pytest.approx(this_year, abs=0.1)
        assert float(prior) == pytest.approx(last_year, abs=0.1)
        assert change == pytest.approx(100 * (this_year / last_year - 1), abs=0.01)


def test_stock_days_are_stock_over_three_months_of_depletions(built: Project, raw: Raw) -> None:
    market, millilitres = markets(raw), bottle_ml(raw)
    delivered = {
        row["shipment_id"]: market[row["distributor_id"]]
        for row in raw["shipments"]
        if row["status"] == "delivered"
    }
    months = sorted({row["depleted_on"] for row in raw["depletions"]})[-3:]
    stock: dict[str, float] = defaultdict(float)
    sold: dict[str, float] = defaultdict(float)
    for row in raw["shipment_lines"]:
        if row["shipment_id"] in delivered:
            litres = int(row["bottles"]) * millilitres[row["expression_id"]]
            stock[delivered[row["shipment_id"]]] += litres
    for row in raw["depletions"]:
        litres = int(row["bottles"]) * millilitres[row["expression_id"]]
        stock[market[row["distributor_id"]]] -= litres
        if row["depleted_on"] in months:
            sold[market[row["distributor_id"]]] += litres
    first, last = date.fromisoformat(months[0]).replace(day=1), date.fromisoformat(months[-1])
    days = (last - first).days + 1
    found = dict(
        built.query(
            "select market_code, stock_days from marts.mart_market_stock_days"
            " qualify row_number() over (partition by market_code order by stock_month desc) = 1"
        )
    )
    assert set(found) == set(stock)
    for code, stock_days in found.items():
        assert stock_days == pytest.approx(stock[code] / sold[code] * days, rel=1e-4)


def test_casks_come_of_age_in_the_year_of_their_birthday(built: Project, raw: Raw) -> None:
    as_of = date.fromisoformat(max(row["depleted_on"] for row in raw["depletions"]))
    emptied = {row["cask_id"] for row in raw["cask_draws"]}
    expected: dict[tuple[str, int], int] = defaultdict(int)
    for row in raw["casks"]:
        if row["cask_id"] not in emptied:
            filled = date.fromisoformat(row["filled_on"])
            year = max(filled.year + int(row["target_age_years"]), as_of.year)
            expected[row["brand_id"], year] += 1
    found = built.query(
        "select brand_id, available_year, sum(casks) from marts.mart_coming_of_age group by all"
    )
    assert {(brand, year): int(casks) for brand, year, casks in found} == expected


def test_net_of_duty_is_what_retail_paid_less_duty_on_the_alcohol(built: Project, raw: Raw) -> None:
    market, items = markets(raw), {row["expression_id"]: row for row in raw["expressions"]}
    category = {row["brand_id"]: row["category_code"] for row in raw["brands"]}
    rates = {
        (row["market_code"], row["category_code"], row["effective_from"][:4]): row
        for row in raw["duty_rates"]
    }
    pounds = {
        (row["currency_code"], row["month_start"][:7]): float(row["gbp_per_unit"])
        for row in raw["fx_rates"]
    }
    expected = 0.0
    for row in raw["depletions"]:
        if market[row["distributor_id"]] == "GB" and row["depleted_on"].startswith("2025"):
            item = items[row["expression_id"]]
            lpa = int(row["bottles"]) * int(item["bottle_ml"]) / 1000 * float(item["abv_pct"]) / 100
            rate = rates["GB", category[item["brand_id"]], "2025"]["duty_per_lpa_local"]
            local = float(row["net_sales_local"]) - lpa * float(rate)
            expected += local * pounds["GBP", row["depleted_on"][:7]]
    found = built.query(
        "select sum(net_of_duty_gbp) from marts.mart_duty_realisation"
        " where market_code = 'GB' and calendar_year = 2025"
    )
    assert float(found[0][0]) == pytest.approx(expected, rel=1e-6)
