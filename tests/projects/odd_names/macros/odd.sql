{% test dbt_is_odd(model, column_name) %}{{ outside_of_the_project(model, column_name) }}{% endtest %}
