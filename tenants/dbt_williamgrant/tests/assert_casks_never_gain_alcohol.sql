-- Angels take and give nothing back. A gain is a gauging that was mistyped, or a refill recorded on the old cask.
select *
from {{ ref("int_cask_observations") }}
where lpa > previous_lpa
