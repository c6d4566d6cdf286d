{{ config(meta={'dagster': {'ref': {'name': 'no_such_model'}}}) }}
select * from {{ ref('keyed') }} join {{ ref('owned') }} using (id) where id = 2
