with source as (
    select * from {{ source("raw", "distillation_runs") }}
)

select
    cast(distillation_run_id as varchar) as distillation_run_id,
    cast(distillery_code as varchar) as distillery_code,
    cast(distilled_on as date) as distilled_on,
    cast(wash_litres as numeric(18, 2)) as wash_litres,
    cast(lpa_produced as numeric(18, 2)) as lpa_produced,
    cast(loaded_at as timestamp) as loaded_at
from source
