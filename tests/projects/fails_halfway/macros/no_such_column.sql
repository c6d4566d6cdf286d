{% test no_such_column(model, column_name) %}select no_such_column from {{ model }}{% endtest %}
