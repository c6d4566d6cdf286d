{{
    config(
        materialized="incremental",
        incremental_strategy="delete+insert",
        unique_key="shipment_line_id",
        on_schema_change="append_new_columns",
    )
}}

select
    shipment_line_id,
    shipment_id,
    distributor_id,
    market_code,
    expression_id,
    brand_id,
    shipped_on,
    delivered_on,
    delivered_month,
    bottles,
    nine_litre_cases,
    pure_alcohol_litres,
    invoiced_gbp,
    list_value_gbp,
    loaded_at
from {{ ref("int_shipment_lines_converted") }}

{% if is_incremental() %}
-- Records that arrive late, or once more, carry a new loaded_at; unique_key replaces what they restate.
where loaded_at > (
    -- An empty table has no last load: then everything is new.
    select {{ dbt.dateadd(
        "day", -var("late_arrival_days"), "coalesce(max(loaded_at), cast('1900-01-01' as timestamp))"
    ) }}
    from {{ this }}
)
{% endif %}
