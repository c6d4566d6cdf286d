select sum(weight_pct) as total_weight
from {{ ref("scorecard_weights") }}
having sum(weight_pct) <> 100
