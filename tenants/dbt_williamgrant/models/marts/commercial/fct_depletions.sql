{{
    config(
        materialized="incremental",
        incremental_strategy="delete+insert",
        unique_key="depletion_id",
        on_schema_change="append_new_columns",
    )
}}

select
    depletion_id,
    distributor_id,
    market_code,
    expression_id,
    brand_id,
    channel_code,
    depleted_on,
    depleted_month,
    bottles,
    nine_litre_cases,
    pure_alcohol_litres,
    net_sales_gbp,
    duty_gbp,
    loaded_at
from {{ ref("int_depletions_converted") }}

{% if is_incremental() %}
-- Distributors restate a month days after closing it: look back, and replace by unique_key.
where loaded_at > (
    -- An empty table has no last load: then everything is new.
    select {{ dbt.dateadd(
        "day", -var("late_arrival_days"), "coalesce(max(loaded_at), cast('1900-01-01' as timestamp))"
    ) }}
    from {{ this }}
)
{% endif %}
