{# dbt.dateadd and dbt.date_trunc give a timestamp on DuckDB and a date on Snowflake: all of these give a date. #}
{% macro add_days(days, from_date) -%}
    cast({{ dbt.dateadd("day", days, from_date) }} as date)
{%- endmacro %}

{% macro add_months(months, from_date) -%}
    cast({{ dbt.dateadd("month", months, from_date) }} as date)
{%- endmacro %}

{% macro add_years(years, from_date) -%}
    cast({{ dbt.dateadd("year", years, from_date) }} as date)
{%- endmacro %}

{% macro month_of(from_date) -%}
    cast({{ dbt.date_trunc("month", from_date) }} as date)
{%- endmacro %}

{% macro year_of(from_date) -%}
    cast(extract(year from {{ from_date }}) as integer)
{%- endmacro %}

{# datediff counts the New Years crossed, so one is taken off when the anniversary is still to come. #}
{% macro completed_years(from_date, to_date) -%}
    {%- set new_years = dbt.datediff(from_date, to_date, "year") -%}
    cast(
        {{ new_years }} - case when {{ apollo.add_years(new_years, from_date) }} > {{ to_date }} then 1 else 0 end as integer
    )
{%- endmacro %}

{% macro years_between(from_date, to_date) -%}
    (cast({{ dbt.datediff(from_date, to_date, "day") }} as double) / 365.25)
{%- endmacro %}
