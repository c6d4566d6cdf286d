with runs as (
    select
        distillery_code,
        {{ apollo.year_of("distilled_on") }} as distilled_year,
        count(*) as runs,
        sum(wash_litres) as wash,
        sum(lpa_produced) as produced
    from {{ ref("stg_distillation_runs") }}
    group by distillery_code, {{ apollo.year_of("distilled_on") }}
),

filled as (
    select
        runs_filled.distillery_code,
        {{ apollo.year_of("runs_filled.distilled_on") }} as distilled_year,
        count(*) as casks,
        sum(casks.fill_lpa) as into_casks
    from {{ ref("stg_casks") }} as casks
    inner join {{ ref("stg_distillation_runs") }} as runs_filled
        on casks.distillation_run_id = runs_filled.distillation_run_id
    group by runs_filled.distillery_code, {{ apollo.year_of("runs_filled.distilled_on") }}
),

distilleries as (
    select * from {{ ref("distilleries") }}
)

select
    runs.distillery_code,
    cast(distilleries.distillery_name as varchar) as distillery_name,
    runs.distilled_year,
    cast(runs.runs as integer) as distillation_runs,
    cast(runs.wash as numeric(18, 4)) as wash_litres,
    cast(runs.produced as numeric(18, 4)) as lpa_produced,
    100 * {{ apollo.divide("runs.produced", "runs.wash") }} as yield_pct,
    cast(coalesce(filled.casks, 0) as integer) as casks_filled,
    cast(coalesce(filled.into_casks, 0) as numeric(18, 4)) as lpa_filled,
    100 * {{ apollo.divide("coalesce(filled.into_casks, 0)", "runs.produced") }} as filled_share_pct
from runs
inner join distilleries on runs.distillery_code = distilleries.distillery_code
left join filled
    on runs.distillery_code = filled.distillery_code
    and runs.distilled_year = filled.distilled_year
