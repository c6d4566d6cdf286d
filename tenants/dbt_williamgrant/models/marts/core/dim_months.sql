with months as (
    select distinct month_start
    from {{ ref("stg_fx_rates") }}
),

reporting as (
    select * from {{ ref("int_reporting_date") }}
),

ended as (
    select
        months.month_start,
        {{ apollo.add_days(-1, apollo.add_months(1, "months.month_start")) }} as month_end,
        reporting.as_of_date
    from months
    cross join reporting
)

select
    month_start,
    month_end,
    {{ apollo.year_of("month_start") }} as calendar_year,
    cast(extract(quarter from month_start) as integer) as calendar_quarter,
    cast(extract(month from month_start) as integer) as month_of_year,
    cast({{ dbt.datediff("month_start", "month_end", "day") }} + 1 as integer) as days_in_month,
    cast({{ dbt.datediff("month_start", "as_of_date", "month") }} as integer) as months_ago
from ended
where month_start <= as_of_date
