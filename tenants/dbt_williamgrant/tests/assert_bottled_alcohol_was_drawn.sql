-- A run cannot bottle more alcohol than was drawn for it, and what was drawn is what its casks held.
select *
from {{ ref("int_bottling_run_inputs") }}
where lpa_bottled > lpa_drawn
    or abs(lpa_drawn - coalesce(cask_lpa_drawn, lpa_drawn)) > 0.01
