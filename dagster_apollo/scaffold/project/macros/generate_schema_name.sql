{# dbt looks for this macro in the root project only; the rules are apollo.schema_for's. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ apollo.schema_for(custom_schema_name, node) }}
{%- endmacro %}
