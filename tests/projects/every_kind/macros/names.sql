{% macro generate_database_name(custom_database_name=none, node=none) -%}
  {{ target.database }}
{%- endmacro %}

{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ 'lab_' ~ (custom_schema_name or 'base') }}
{%- endmacro %}

{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
  {%- if custom_alias_name -%} {{ custom_alias_name }}
  {%- elif node.version -%} {{ node.name ~ '_v' ~ node.version }}
  {%- else -%} {{ 't_' ~ node.name }}
  {%- endif -%}
{%- endmacro %}
