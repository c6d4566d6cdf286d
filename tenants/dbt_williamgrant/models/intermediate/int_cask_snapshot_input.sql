-- What the snapshot of cask stock remembers: the last fact known of each cask and when it was recorded. No estimate "as
-- of" a date is among it, or every cask would be a new version every month.
with casks as (
    select * from {{ ref("int_cask_current_state") }}
)

select
    cask_id,
    brand_id,
    cask_type_code,
    warehouse_id,
    status,
    filled_on,
    last_observed_on,
    last_lpa,
    cast(last_observed_on as timestamp) as last_recorded_at
from casks
