select market_code, calendar_year, sum(volume_share_pct) as total_share
from {{ ref("mart_channel_mix") }}
group by market_code, calendar_year
having abs(sum(volume_share_pct) - 100) > 0.001
