{# Division: as doubles, because Snowflake keeps six decimals of a quotient of numbers where DuckDB keeps a double. #}
{% macro divide(numerator, denominator) -%}
    (cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0))
{%- endmacro %}

{# Bottles become a double first: as integers, bottles times millilitres overflow on DuckDB. #}
{% macro nine_litre_cases(bottles, bottle_ml) -%}
    cast(cast({{ bottles }} as double) * {{ bottle_ml }} / 9000 as numeric(18, 4))
{%- endmacro %}

{% macro pure_alcohol_litres(bottles, bottle_ml, abv_pct) -%}
    cast(cast({{ bottles }} as double) * {{ bottle_ml }} / 1000 * cast({{ abv_pct }} as double) / 100 as numeric(18, 4))
{%- endmacro %}
