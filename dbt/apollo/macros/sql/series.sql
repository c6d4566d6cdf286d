{# A loop over var() must sit in a macro: dbt 1.10 parses a model's unit tests in a context that has no var(). #}
{% macro whole_numbers_to(last, column_name="n") -%}
    {%- for number in range(last + 1) %}
    select {{ number }} as {{ column_name }}
    {%- if not loop.last %} union all{% endif %}
    {%- endfor %}
{%- endmacro %}
