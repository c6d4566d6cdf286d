with casks as (
    select * from {{ ref("int_cask_current_state") }}
    -- A cask never measured since it was filled says nothing about losses.
    where last_observed_on > filled_on
),

cask_types as (
    select * from {{ ref("cask_types") }}
),

warehouses as (
    select * from {{ ref("stg_warehouses") }}
),

observed as (
    select
        casks.cask_type_code,
        warehouses.warehouse_type,
        count(*) as casks_observed,
        sum({{ apollo.years_between("casks.filled_on", "casks.last_observed_on") }}) as cask_years,
        sum(casks.fill_lpa) as lpa_at_filling,
        sum(casks.last_lpa) as lpa_at_last,
        avg(casks.annual_loss_rate) as average_loss_rate
    from casks
    inner join warehouses on casks.warehouse_id = warehouses.warehouse_id
    group by casks.cask_type_code, warehouses.warehouse_type
)

select
    observed.cask_type_code,
    cast(cask_types.cask_type_name as varchar) as cask_type_name,
    observed.warehouse_type,
    cast(observed.casks_observed as integer) as casks_observed,
    cast(observed.cask_years as double) as cask_years_observed,
    cast(observed.lpa_at_filling as numeric(18, 4)) as filled_lpa,
    cast(observed.lpa_at_filling - observed.lpa_at_last as numeric(18, 4)) as lost_lpa,
    100 * observed.average_loss_rate as annual_loss_pct,
    cast(cask_types.reference_loss_pct as double) as reference_loss_pct,
    100 * observed.average_loss_rate - cast(cask_types.reference_loss_pct as double) as above_reference_pct
from observed
inner join cask_types on observed.cask_type_code = cask_types.cask_type_code
