with casks as (
    select * from {{ ref("int_cask_current_state") }}
),

cask_types as (
    select * from {{ ref("cask_types") }}
),

warehouses as (
    select * from {{ ref("stg_warehouses") }}
),

brands as (
    select * from {{ ref("stg_brands") }}
)

select
    casks.cask_id,
    casks.brand_id,
    brands.brand_name,
    casks.cask_type_code,
    cast(cask_types.cask_type_name as varchar) as cask_type_name,
    casks.warehouse_id,
    warehouses.warehouse_type,
    casks.status,
    casks.filled_on,
    casks.target_age_years,
    casks.comes_of_age_on,
    casks.age_years,
    casks.emptied_on,
    casks.fill_lpa,
    casks.current_lpa,
    casks.annual_loss_rate
from casks
inner join cask_types on casks.cask_type_code = cask_types.cask_type_code
inner join warehouses on casks.warehouse_id = warehouses.warehouse_id
inner join brands on casks.brand_id = brands.brand_id
