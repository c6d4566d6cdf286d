with runs as (
    select * from {{ ref("stg_bottling_runs") }}
),

expressions as (
    select * from {{ ref("int_expressions_enriched") }}
),

draws as (
    select
        cask_draws.bottling_run_id,
        count(*) as casks_emptied,
        sum(cask_draws.lpa_drawn) as cask_lpa_drawn,
        min({{ apollo.completed_years("casks.filled_on", "cask_draws.drawn_on") }}) as youngest_cask_years
    from {{ ref("stg_cask_draws") }} as cask_draws
    inner join {{ ref("stg_casks") }} as casks on cask_draws.cask_id = casks.cask_id
    group by cask_draws.bottling_run_id
)

select
    runs.bottling_run_id,
    runs.expression_id,
    expressions.brand_id,
    runs.bottled_on,
    runs.bottles_filled,
    {{ apollo.nine_litre_cases("runs.bottles_filled", "expressions.bottle_ml") }} as nine_litre_cases,
    runs.lpa_drawn,
    {{ apollo.pure_alcohol_litres("runs.bottles_filled", "expressions.bottle_ml", "expressions.abv_pct") }}
        as lpa_bottled,
    expressions.minimum_age_years,
    cast(coalesce(draws.casks_emptied, 0) as integer) as casks_emptied,
    cast(draws.cask_lpa_drawn as numeric(18, 2)) as cask_lpa_drawn,
    cast(draws.youngest_cask_years as integer) as youngest_cask_years
from runs
inner join expressions on runs.expression_id = expressions.expression_id
left join draws on runs.bottling_run_id = draws.bottling_run_id
