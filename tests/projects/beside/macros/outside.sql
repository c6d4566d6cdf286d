{% macro outside_of_the_project(model, column_name) %}
  select * from {{ model }} where {{ column_name }} % 2 = 0
{% endmacro %}
