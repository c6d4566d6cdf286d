{#
    The schema of a node. Pure: the answer depends on the arguments alone; target_name and target_schema default to
    the running target's and are arguments so that a test can ask about every target. `node` is there because dbt hands
    it over and names the culprit in the error.
#}
{% macro schema_for(custom_schema_name, node, target_name=none, target_schema=none) -%}
    {%- set known = ["local", "dev", "prod"] -%}
    {%- set name = target.name if target_name is none else target_name -%}
    {%- set given = (target.schema if target_schema is none else target_schema) | trim -%}
    {%- set custom = (custom_schema_name or "") | trim -%}
    {#- A profile must have a schema: for DuckDB it says `main`, for Snowflake "", when DBT_SCHEMA is unset. -#}
    {%- set overridden = given != "" and not (name == "local" and given == "main") -%}

    {%- if name not in known -%}
        {{ exceptions.raise_compiler_error(
            "No schema for '" ~ (node.name if node else "?") ~ "': target '" ~ name ~ "' is unknown. Known targets: "
            ~ known | join(", ") ~ "."
        ) }}
    {%- elif custom == "" -%}
        {{ given }}
    {%- elif not overridden -%}
        {{ custom }}
    {%- elif name == "dev" -%}
        {{ given }}_{{ custom }}
    {%- else -%}
        {{ given }}
    {%- endif -%}
{%- endmacro %}
