-- What comes of age in which year, and how much the angels will have left of it by then.
with casks as (
    select * from {{ ref("int_cask_current_state") }}
    where status = 'maturing'
),

projected as (
    select
        brand_id,
        target_age_years,
        case
            when comes_of_age_on <= as_of_date then {{ apollo.year_of("as_of_date") }}
            else {{ apollo.year_of("comes_of_age_on") }}
        end as available_year,
        case when comes_of_age_on <= as_of_date then 1 else 0 end as is_of_age,
        current_lpa,
        case
            when comes_of_age_on <= as_of_date then cast(current_lpa as double)
            else cast(current_lpa as double)
                * power(1 - annual_loss_rate, {{ apollo.years_between("as_of_date", "comes_of_age_on") }})
        end as lpa_then
    from casks
)

select
    brand_id,
    target_age_years,
    available_year,
    cast(count(*) as integer) as casks,
    cast(sum(is_of_age) as integer) as casks_already_of_age,
    cast(sum(current_lpa) as numeric(18, 4)) as current_lpa,
    cast(sum(lpa_then) as numeric(18, 4)) as projected_lpa,
    -- A nine-litre case at 40% holds 3.6 litres of pure alcohol.
    cast(sum(lpa_then) / 3.6 as numeric(18, 4)) as projected_nine_litre_cases
from projected
group by brand_id, target_age_years, available_year
