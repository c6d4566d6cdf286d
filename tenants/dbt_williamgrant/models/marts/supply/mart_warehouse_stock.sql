with casks as (
    select * from {{ ref("snap_cask_stock") }}
    where dbt_valid_to is null
        and status = 'maturing'
),

warehouses as (
    select * from {{ ref("stg_warehouses") }}
)

select
    warehouses.warehouse_id,
    warehouses.warehouse_name,
    warehouses.warehouse_type,
    casks.brand_id,
    cast(count(*) as integer) as casks,
    cast(sum(casks.last_lpa) as numeric(18, 4)) as last_gauged_lpa,
    min(casks.filled_on) as oldest_filled_on
from warehouses
inner join casks on warehouses.warehouse_id = casks.warehouse_id
group by
    warehouses.warehouse_id,
    warehouses.warehouse_name,
    warehouses.warehouse_type,
    casks.brand_id
