{% snapshot gadgets_history %}
{{ config(unique_key='gadget_id', strategy='check', check_cols=['price'], schema='history') }}
select * from {{ ref('stg_gadgets') }}
{% endsnapshot %}
