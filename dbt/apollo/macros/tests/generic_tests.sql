{% test unique_combination(model, columns) %}
select {{ columns | join(", ") }}, count(*) as occurrences
from {{ model }}
group by {{ columns | join(", ") }}
having count(*) > 1
{% endtest %}


{% test accepted_range(model, column_name, min_value=none, max_value=none, inclusive=true) %}
{%- if min_value is none and max_value is none -%}
    {{ exceptions.raise_compiler_error("accepted_range on " ~ column_name ~ " needs min_value, max_value or both") }}
{%- endif -%}
{%- set equal = "=" if inclusive else "" %}
select {{ column_name }}
from {{ model }}
where {{ column_name }} is not null
    and not (
        1 = 1
        {%- if min_value is not none %} and {{ column_name }} >{{ equal }} {{ min_value }}{% endif %}
        {%- if max_value is not none %} and {{ column_name }} <{{ equal }} {{ max_value }}{% endif %}
    )
{% endtest %}


{% test expression_is_true(model, expression) %}
select *
from {{ model }}
where not coalesce({{ expression }}, false)
{% endtest %}


{% test equal_totals(model, column_name, to, to_column, tolerance=0.01) %}
with here as (
    select coalesce(sum({{ column_name }}), 0) as total from {{ model }}
),

there as (
    select coalesce(sum({{ to_column }}), 0) as total from {{ to }}
)

select here.total as total_here, there.total as total_there
from here
cross join there
where abs(here.total - there.total) > {{ tolerance }}
{% endtest %}


{% test not_after(model, column_name, other) %}
select {{ column_name }}, {{ other }}
from {{ model }}
where {{ column_name }} > {{ other }}
{% endtest %}


{% test no_overlapping_periods(model, partition_by, starts, ends) %}
with ordered as (
    select
        {{ starts }} as period_starts,
        {{ ends }} as period_ends,
        lead({{ starts }}) over (partition by {{ partition_by | join(", ") }} order by {{ starts }}) as next_starts
    from {{ model }}
)

select *
from ordered
where next_starts < period_ends
    or (next_starts is not null and period_ends is null)
{% endtest %}
