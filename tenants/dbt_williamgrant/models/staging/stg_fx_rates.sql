with source as (
    select * from {{ source("raw", "fx_rates") }}
)

select
    cast(currency_code as varchar) as currency_code,
    cast(month_start as date) as month_start,
    cast(gbp_per_unit as numeric(18, 6)) as gbp_per_unit,
    cast(loaded_at as timestamp) as loaded_at
from source
