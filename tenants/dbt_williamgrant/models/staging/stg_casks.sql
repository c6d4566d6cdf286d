with source as (
    select * from {{ source("raw", "casks") }}
)

select
    cast(cask_id as varchar) as cask_id,
    cast(distillation_run_id as varchar) as distillation_run_id,
    cast(cask_type_code as varchar) as cask_type_code,
    cast(warehouse_id as varchar) as warehouse_id,
    cast(brand_id as varchar) as brand_id,
    cast(target_age_years as integer) as target_age_years,
    cast(filled_on as date) as filled_on,
    cast(fill_bulk_litres as numeric(18, 2)) as fill_bulk_litres,
    cast(fill_abv_pct as numeric(5, 2)) as fill_abv_pct,
    cast(fill_lpa as numeric(18, 2)) as fill_lpa,
    cast(loaded_at as timestamp) as loaded_at
from source
