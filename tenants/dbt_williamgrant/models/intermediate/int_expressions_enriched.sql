with expressions as (
    select * from {{ ref("stg_expressions") }}
),

brands as (
    select * from {{ ref("stg_brands") }}
),

categories as (
    select * from {{ ref("spirit_categories") }}
)

select
    expressions.expression_id,
    expressions.expression_name,
    expressions.brand_id,
    brands.brand_name,
    brands.category_code,
    categories.category_name,
    expressions.age_statement_years,
    coalesce(expressions.age_statement_years, categories.minimum_maturation_years) as minimum_age_years,
    expressions.abv_pct,
    expressions.bottle_ml,
    expressions.bottles_per_case,
    expressions.launched_on
from expressions
inner join brands on expressions.brand_id = brands.brand_id
inner join categories on brands.category_code = categories.category_code
