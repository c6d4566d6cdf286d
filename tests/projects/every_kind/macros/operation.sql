{% macro vacuum() %}{% do run_query('select 1') %}{% endmacro %}
