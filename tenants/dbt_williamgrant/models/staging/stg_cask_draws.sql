with source as (
    select * from {{ source("raw", "cask_draws") }}
)

select
    cast(cask_draw_id as varchar) as cask_draw_id,
    cast(bottling_run_id as varchar) as bottling_run_id,
    cast(cask_id as varchar) as cask_id,
    cast(drawn_on as date) as drawn_on,
    cast(lpa_drawn as numeric(18, 2)) as lpa_drawn,
    cast(loaded_at as timestamp) as loaded_at
from source
