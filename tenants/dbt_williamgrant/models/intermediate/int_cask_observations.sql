-- Everything ever measured in a cask: when filled, at each gauging, when emptied.
with observations as (
    select cask_id, filled_on as observed_on, fill_lpa as lpa, 'filled' as observation
    from {{ ref("stg_casks") }}
    union all
    select cask_id, gauged_on as observed_on, lpa, 'gauged' as observation
    from {{ ref("stg_cask_gauges") }}
    union all
    select cask_id, drawn_on as observed_on, lpa_drawn as lpa, 'emptied' as observation
    from {{ ref("stg_cask_draws") }}
)

select
    cask_id,
    observation,
    observed_on,
    lpa,
    lag(observed_on) over (partition by cask_id order by observed_on) as previous_observed_on,
    lag(lpa) over (partition by cask_id order by observed_on) as previous_lpa,
    row_number() over (partition by cask_id order by observed_on desc) as recency
from observations
