with source as (
    select * from {{ source("raw", "bottling_runs") }}
)

select
    cast(bottling_run_id as varchar) as bottling_run_id,
    cast(expression_id as varchar) as expression_id,
    cast(bottled_on as date) as bottled_on,
    cast(bottles_filled as integer) as bottles_filled,
    cast(lpa_drawn as numeric(18, 2)) as lpa_drawn,
    cast(loaded_at as timestamp) as loaded_at
from source
