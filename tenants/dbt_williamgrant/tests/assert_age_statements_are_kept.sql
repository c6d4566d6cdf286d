-- The law: the youngest cask in the bottle is at least as old as the label says.
select *
from {{ ref("int_bottling_run_inputs") }}
where coalesce(youngest_cask_years, 0) < minimum_age_years
