with source as (
    select * from {{ source("raw", "expressions") }}
)

select
    cast(expression_id as varchar) as expression_id,
    cast(brand_id as varchar) as brand_id,
    cast(expression_name as varchar) as expression_name,
    cast(age_statement_years as integer) as age_statement_years,
    cast(abv_pct as numeric(5, 2)) as abv_pct,
    cast(bottle_ml as integer) as bottle_ml,
    cast(bottles_per_case as integer) as bottles_per_case,
    cast(launched_on as date) as launched_on
from source
