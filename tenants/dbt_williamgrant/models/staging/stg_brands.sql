with source as (
    select * from {{ source("raw", "brands") }}
)

select
    cast(brand_id as varchar) as brand_id,
    cast(brand_name as varchar) as brand_name,
    cast(category_code as varchar) as category_code,
    cast(launched_on as date) as launched_on,
    cast(is_core as boolean) as is_core
from source
