with yearly as (
    select
        expression_id,
        brand_id,
        {{ apollo.year_of("bottled_on") }} as bottled_year,
        count(*) as runs,
        sum(bottles_filled) as bottles,
        sum(nine_litre_cases) as cases_bottled,
        sum(lpa_drawn) as drawn,
        sum(lpa_bottled) as bottled,
        sum(casks_emptied) as casks,
        min(minimum_age_years) as minimum_age,
        min(youngest_cask_years) as youngest_age
    from {{ ref("int_bottling_run_inputs") }}
    group by expression_id, brand_id, {{ apollo.year_of("bottled_on") }}
)

select
    expression_id,
    brand_id,
    bottled_year,
    cast(runs as integer) as bottling_runs,
    cast(bottles as integer) as bottles_filled,
    cast(cases_bottled as numeric(18, 4)) as nine_litre_cases,
    cast(casks as integer) as casks_emptied,
    cast(drawn as numeric(18, 4)) as lpa_drawn,
    cast(bottled as numeric(18, 4)) as lpa_bottled,
    100 * (1 - {{ apollo.divide("bottled", "drawn") }}) as bottling_loss_pct,
    cast(minimum_age as integer) as minimum_age_years,
    cast(youngest_age as integer) as youngest_cask_years,
    coalesce(youngest_age >= minimum_age, minimum_age = 0) as age_statement_kept
from yearly
