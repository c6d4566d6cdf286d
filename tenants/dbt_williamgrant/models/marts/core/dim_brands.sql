with brands as (
    select * from {{ ref("stg_brands") }}
),

categories as (
    select * from {{ ref("spirit_categories") }}
),

expressions as (
    select
        brand_id,
        count(*) as expressions,
        max(age_statement_years) as oldest_age
    from {{ ref("int_expressions_enriched") }}
    group by brand_id
)

select
    brands.brand_id,
    brands.brand_name,
    brands.category_code,
    categories.category_name,
    brands.launched_on,
    brands.is_core,
    cast(coalesce(expressions.expressions, 0) as integer) as expression_count,
    expressions.oldest_age as oldest_age_statement_years
from brands
inner join categories on brands.category_code = categories.category_code
left join expressions on brands.brand_id = expressions.brand_id
