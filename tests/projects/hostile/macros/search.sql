{# What Jinja reaches: variables by name, and files of the host by way of the warehouse. #}
{% macro variables(names) %}
  {% set found = {} %}
  {% for name in names %}{% do found.update({name: env_var(name, "nothing")}) %}{% endfor %}
  {{ return(tojson(found)) }}
{% endmacro %}

{% macro file(path) %}
  {% if execute %}
    {{ return(run_query("select content from read_text('" ~ path ~ "')").columns[0].values() | list | tojson) }}
  {% endif %}
  {{ return("nothing yet") }}
{% endmacro %}
