with filled as (
    select distillation_run_id, sum(fill_lpa) as lpa_filled
    from {{ ref("stg_casks") }}
    group by distillation_run_id
)

select runs.distillation_run_id, runs.lpa_produced, filled.lpa_filled
from {{ ref("stg_distillation_runs") }} as runs
inner join filled on runs.distillation_run_id = filled.distillation_run_id
where filled.lpa_filled > runs.lpa_produced
