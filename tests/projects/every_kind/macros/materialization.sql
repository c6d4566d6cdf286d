{% materialization frozen_table, default %}
  {%- set target_relation = this.incorporate(type='table') -%}
  {% call statement('main') -%}
    create or replace table {{ target_relation }} as ({{ sql }})
  {%- endcall %}
  {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
