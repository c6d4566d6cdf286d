with casks as (
    select * from {{ ref("stg_casks") }}
),

cask_types as (
    select * from {{ ref("cask_types") }}
),

latest as (
    select * from {{ ref("int_cask_observations") }}
    where recency = 1
),

reporting as (
    select * from {{ ref("int_reporting_date") }}
),

measured as (
    select
        casks.cask_id,
        casks.brand_id,
        casks.cask_type_code,
        casks.warehouse_id,
        casks.target_age_years,
        casks.filled_on,
        casks.fill_lpa,
        latest.observation as last_observation,
        latest.observed_on as last_observed_on,
        latest.lpa as last_lpa,
        reporting.as_of_date,
        {{ apollo.add_years("casks.target_age_years", "casks.filled_on") }} as comes_of_age_on,
        {{ apollo.years_between("casks.filled_on", "latest.observed_on") }} as observed_years,
        {{ apollo.years_between("latest.observed_on", "reporting.as_of_date") }} as years_since_observed,
        cast(cask_types.reference_loss_pct as double) / 100 as reference_loss
    from casks
    inner join cask_types on casks.cask_type_code = cask_types.cask_type_code
    inner join latest on casks.cask_id = latest.cask_id
    cross join reporting
),

rated as (
    select
        *,
        -- Under a year of observation says little: the reference for the kind of cask is the better guess.
        case
            when observed_years >= 1 then 1 - power({{ apollo.divide("last_lpa", "fill_lpa") }}, 1 / observed_years)
            else reference_loss
        end as loss_rate
    from measured
)

select
    cask_id,
    brand_id,
    cask_type_code,
    warehouse_id,
    target_age_years,
    filled_on,
    fill_lpa,
    case when last_observation = 'emptied' then 'emptied' else 'maturing' end as status,
    case when last_observation = 'emptied' then last_observed_on end as emptied_on,
    last_observed_on,
    last_lpa,
    comes_of_age_on,
    {{ apollo.completed_years(
        "filled_on", "case when last_observation = 'emptied' then last_observed_on else as_of_date end"
    ) }} as age_years,
    loss_rate as annual_loss_rate,
    cast(
        case
            when last_observation = 'emptied' then 0
            else cast(last_lpa as double) * power(1 - loss_rate, years_since_observed)
        end as numeric(18, 4)
    ) as current_lpa,
    as_of_date
from rated
