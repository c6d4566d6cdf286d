"""The raw tables: columns and types, declared once, for CSV headers and Snowflake's DDL alike."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

Row = Sequence[object]


class Sink(Protocol):
    """Where generated rows go: a CSV file, or a list in a test."""

    def __call__(self, table: str, row: Row) -> None:
        """Take one row of a table, its values in the order of COLUMNS."""


COLUMNS: dict[str, dict[str, str]] = {
    "brands": {
        "brand_id": "varchar",
        "brand_name": "varchar",
        "category_code": "varchar",
        "launched_on": "date",
        "is_core": "boolean",
    },
    "expressions": {
        "expression_id": "varchar",
        "brand_id": "varchar",
        "expression_name": "varchar",
        "age_statement_years": "integer",
        "abv_pct": "numeric(5,2)",
        "bottle_ml": "integer",
        "bottles_per_case": "integer",
        "launched_on": "date",
    },
    "distributors": {
        "distributor_id": "varchar",
        "distributor_name": "varchar",
        "market_code": "varchar",
        "tier": "varchar",
        "appointed_on": "date",
        "target_stock_days": "integer",
        "payment_terms_days": "integer",
    },
    "warehouses": {
        "warehouse_id": "varchar",
        "warehouse_name": "varchar",
        "warehouse_type": "varchar",
    },
    "distillation_runs": {
        "distillation_run_id": "varchar",
        "distillery_code": "varchar",
        "distilled_on": "date",
        "wash_litres": "numeric(18,2)",
        "lpa_produced": "numeric(18,2)",
        "loaded_at": "timestamp_ntz",
    },
    "casks": {
        "cask_id": "varchar",
        "distillation_run_id": "varchar",
        "cask_type_code": "varchar",
        "warehouse_id": "varchar",
        "brand_id": "varchar",
        "target_age_years": "integer",
        "filled_on": "date",
        "fill_bulk_litres": "numeric(18,2)",
        "fill_abv_pct": "numeric(5,2)",
        "fill_lpa": "numeric(18,2)",
        "loaded_at": "timestamp_ntz",
    },
    "cask_gauges": {
        "gauge_id": "varchar",
        "cask_id": "varchar",
        "gauged_on": "date",
        "bulk_litres": "numeric(18,2)",
        "abv_pct": "numeric(5,2)",
        "lpa": "numeric(18,2)",
        "loaded_at": "timestamp_ntz",
    },
    "bottling_runs": {
        "bottling_run_id": "varchar",
        "expression_id": "varchar",
        "bottled_on": "date",
        "bottles_filled": "integer",
        "lpa_drawn": "numeric(18,2)",
        "loaded_at": "timestamp_ntz",
    },
    "cask_draws": {
        "cask_draw_id": "varchar",
        "bottling_run_id": "varchar",
        "cask_id": "varchar",
        "drawn_on": "date",
        "lpa_drawn": "numeric(18,2)",
        "loaded_at": "timestamp_ntz",
    },
    "shipments": {
        "shipment_id": "varchar",
        "distributor_id": "varchar",
        "ordered_on": "date",
        "promised_on": "date",
        "shipped_on": "date",
        "delivered_on": "date",
        "status": "varchar",
        "loaded_at": "timestamp_ntz",
    },
    "shipment_lines": {
        "shipment_line_id": "varchar",
        "shipment_id": "varchar",
        "expression_id": "varchar",
        "bottles": "integer",
        "unit_price_local": "numeric(18,4)",
        "currency_code": "varchar",
        "loaded_at": "timestamp_ntz",
    },
    "depletions": {
        "depletion_id": "varchar",
        "distributor_id": "varchar",
        "expression_id": "varchar",
        "channel_code": "varchar",
        "depleted_on": "date",
        "bottles": "integer",
        "net_sales_local": "numeric(18,2)",
        "loaded_at": "timestamp_ntz",
    },
    "stock_counts": {
        "stock_count_id": "varchar",
        "distributor_id": "varchar",
        "expression_id": "varchar",
        "counted_on": "date",
        "bottles_counted": "integer",
        "loaded_at": "timestamp_ntz",
    },
    "price_list": {
        "price_id": "varchar",
        "expression_id": "varchar",
        "market_code": "varchar",
        "currency_code": "varchar",
        "list_price_per_bottle": "numeric(18,4)",
        "valid_from": "date",
        "updated_at": "timestamp_ntz",
    },
    "duty_rates": {
        "duty_rate_id": "varchar",
        "market_code": "varchar",
        "category_code": "varchar",
        "duty_per_lpa_local": "numeric(18,4)",
        "effective_from": "date",
        "updated_at": "timestamp_ntz",
    },
    "fx_rates": {
        "currency_code": "varchar",
        "month_start": "date",
        "gbp_per_unit": "numeric(18,6)",
        "loaded_at": "timestamp_ntz",
    },
    "volume_targets": {
        "market_code": "varchar",
        "brand_id": "varchar",
        "target_year": "integer",
        "target_nine_litre_cases": "numeric(18,2)",
    },
}


def _cell(value: object) -> str:
    """A value as Snowflake and DuckDB both read it: None is empty, a float has two decimals."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value)


@contextmanager
def csv_sink(folder: Path) -> Iterator[Sink]:
    """Open one CSV file a table and hand out the function that appends a row to one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        writers: dict[str, Any] = {}
        for table, columns in COLUMNS.items():
            file = (folder / f"{table}.csv").open("w", newline="", encoding="utf-8")
            writers[table] = csv.writer(files.enter_context(file), lineterminator="\n")
            writers[table].writerow(columns)

        def write(table: str, row: Row) -> None:
            if len(row) != len(COLUMNS[table]):
                raise ValueError(f"{table}: {len(row)} values for {len(COLUMNS[table])} columns")
            writers[table].writerow([_cell(value) for value in row])

        yield write


_SNOWFLAKE_HEADER = """\
-- Schema RAW of the williamgrant tenant: synthetic data.
-- Written by `python generate.py --snowflake-sql`. Run it in this folder, in the database that
-- SNOWFLAKE_DATABASE names: `snow sql --database NAME -f load_raw.sql`.

create schema if not exists raw;"""


def snowflake_sql() -> str:
    """The statements that create schema RAW and load it from data/, run in the tenant's folder."""
    parts = [_SNOWFLAKE_HEADER]
    for table, columns in COLUMNS.items():
        body = ",\n".join(f"    {name} {kind}" for name, kind in columns.items())
        parts.append(
            f"create or replace table raw.{table} (\n{body}\n);\n"
            f"put file://data/{table}.csv @raw.%{table} overwrite = true;\n"
            f"copy into raw.{table} from @raw.%{table}\n"
            "    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '\"');"
        )
    return "\n\n".join(parts) + "\n"
