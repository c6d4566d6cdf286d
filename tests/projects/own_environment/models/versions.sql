select 1 as id, '{{ dbt_version }}' as dbt_version, cast('2026-01-01' as date) as on_day
