with casks as (
    select * from {{ ref("int_cask_current_state") }}
    where status = 'maturing'
),

grouped as (
    select
        brand_id,
        target_age_years,
        age_years,
        count(*) as cask_count,
        sum(fill_lpa) as lpa_filled,
        sum(current_lpa) as lpa_now,
        sum(case when comes_of_age_on <= as_of_date then 1 else 0 end) as of_age_count
    from casks
    group by brand_id, target_age_years, age_years
)

select
    brand_id,
    target_age_years,
    age_years,
    cast(cask_count as integer) as casks,
    cast(lpa_filled as numeric(18, 4)) as filled_lpa,
    cast(lpa_now as numeric(18, 4)) as current_lpa,
    100 * (1 - {{ apollo.divide("lpa_now", "lpa_filled") }}) as lost_to_angels_pct,
    cast(of_age_count as integer) as casks_of_age
from grouped
