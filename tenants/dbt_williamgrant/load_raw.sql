-- Schema RAW of the williamgrant tenant: synthetic data.
-- Written by `python generate.py --snowflake-sql`. Run it in this folder, in the database that
-- SNOWFLAKE_DATABASE names: `snow sql --database NAME -f load_raw.sql`.

create schema if not exists raw;

create or replace table raw.brands (
    brand_id varchar,
    brand_name varchar,
    category_code varchar,
    launched_on date,
    is_core boolean
);
put file://data/brands.csv @raw.%brands overwrite = true;
copy into raw.brands from @raw.%brands
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.expressions (
    expression_id varchar,
    brand_id varchar,
    expression_name varchar,
    age_statement_years integer,
    abv_pct numeric(5,2),
    bottle_ml integer,
    bottles_per_case integer,
    launched_on date
);
put file://data/expressions.csv @raw.%expressions overwrite = true;
copy into raw.expressions from @raw.%expressions
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.distributors (
    distributor_id varchar,
    distributor_name varchar,
    market_code varchar,
    tier varchar,
    appointed_on date,
    target_stock_days integer,
    payment_terms_days integer
);
put file://data/distributors.csv @raw.%distributors overwrite = true;
copy into raw.distributors from @raw.%distributors
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.warehouses (
    warehouse_id varchar,
    warehouse_name varchar,
    warehouse_type varchar
);
put file://data/warehouses.csv @raw.%warehouses overwrite = true;
copy into raw.warehouses from @raw.%warehouses
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.distillation_runs (
    distillation_run_id varchar,
    distillery_code varchar,
    distilled_on date,
    wash_litres numeric(18,2),
    lpa_produced numeric(18,2),
    loaded_at timestamp_ntz
);
put file://data/distillation_runs.csv @raw.%distillation_runs overwrite = true;
copy into raw.distillation_runs from @raw.%distillation_runs
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.casks (
    cask_id varchar,
    distillation_run_id varchar,
    cask_type_code varchar,
    warehouse_id varchar,
    brand_id varchar,
    target_age_years integer,
    filled_on date,
    fill_bulk_litres numeric(18,2),
    fill_abv_pct numeric(5,2),
    fill_lpa numeric(18,2),
    loaded_at timestamp_ntz
);
put file://data/casks.csv @raw.%casks overwrite = true;
copy into raw.casks from @raw.%casks
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.cask_gauges (
    gauge_id varchar,
    cask_id varchar,
    gauged_on date,
    bulk_litres numeric(18,2),
    abv_pct numeric(5,2),
    lpa numeric(18,2),
    loaded_at timestamp_ntz
);
put file://data/cask_gauges.csv @raw.%cask_gauges overwrite = true;
copy into raw.cask_gauges from @raw.%cask_gauges
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.bottling_runs (
    bottling_run_id varchar,
    expression_id varchar,
    bottled_on date,
    bottles_filled integer,
    lpa_drawn numeric(18,2),
    loaded_at timestamp_ntz
);
put file://data/bottling_runs.csv @raw.%bottling_runs overwrite = true;
copy into raw.bottling_runs from @raw.%bottling_runs
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.cask_draws (
    cask_draw_id varchar,
    bottling_run_id varchar,
    cask_id varchar,
    drawn_on date,
    lpa_drawn numeric(18,2),
    loaded_at timestamp_ntz
);
put file://data/cask_draws.csv @raw.%cask_draws overwrite = true;
copy into raw.cask_draws from @raw.%cask_draws
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.shipments (
    shipment_id varchar,
    distributor_id varchar,
    ordered_on date,
    promised_on date,
    shipped_on date,
    delivered_on date,
    status varchar,
    loaded_at timestamp_ntz
);
put file://data/shipments.csv @raw.%shipments overwrite = true;
copy into raw.shipments from @raw.%shipments
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.shipment_lines (
    shipment_line_id varchar,
    shipment_id varchar,
    expression_id varchar,
    bottles integer,
    unit_price_local numeric(18,4),
    currency_code varchar,
    loaded_at timestamp_ntz
);
put file://data/shipment_lines.csv @raw.%shipment_lines overwrite = true;
copy into raw.shipment_lines from @raw.%shipment_lines
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.depletions (
    depletion_id varchar,
    distributor_id varchar,
    expression_id varchar,
    channel_code varchar,
    depleted_on date,
    bottles integer,
    net_sales_local numeric(18,2),
    loaded_at timestamp_ntz
);
put file://data/depletions.csv @raw.%depletions overwrite = true;
copy into raw.depletions from @raw.%depletions
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.stock_counts (
    stock_count_id varchar,
    distributor_id varchar,
    expression_id varchar,
    counted_on date,
    bottles_counted integer,
    loaded_at timestamp_ntz
);
put file://data/stock_counts.csv @raw.%stock_counts overwrite = true;
copy into raw.stock_counts from @raw.%stock_counts
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.price_list (
    price_id varchar,
    expression_id varchar,
    market_code varchar,
    currency_code varchar,
    list_price_per_bottle numeric(18,4),
    valid_from date,
    updated_at timestamp_ntz
);
put file://data/price_list.csv @raw.%price_list overwrite = true;
copy into raw.price_list from @raw.%price_list
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.duty_rates (
    duty_rate_id varchar,
    market_code varchar,
    category_code varchar,
    duty_per_lpa_local numeric(18,4),
    effective_from date,
    updated_at timestamp_ntz
);
put file://data/duty_rates.csv @raw.%duty_rates overwrite = true;
copy into raw.duty_rates from @raw.%duty_rates
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.fx_rates (
    currency_code varchar,
    month_start date,
    gbp_per_unit numeric(18,6),
    loaded_at timestamp_ntz
);
put file://data/fx_rates.csv @raw.%fx_rates overwrite = true;
copy into raw.fx_rates from @raw.%fx_rates
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');

create or replace table raw.volume_targets (
    market_code varchar,
    brand_id varchar,
    target_year integer,
    target_nine_litre_cases numeric(18,2)
);
put file://data/volume_targets.csv @raw.%volume_targets overwrite = true;
copy into raw.volume_targets from @raw.%volume_targets
    file_format = (type = csv skip_header = 1 field_optionally_enclosed_by = '"');
