{% macro stop_here() %}
  {% if execute and flags.WHICH == 'build' %}
    {{ exceptions.raise_compiler_error('The warehouse is closed on Mondays') }}
  {% endif %}
{% endmacro %}
