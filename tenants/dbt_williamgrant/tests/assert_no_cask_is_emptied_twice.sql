select cask_id, count(*) as draws
from {{ ref("stg_cask_draws") }}
group by cask_id
having count(*) > 1
