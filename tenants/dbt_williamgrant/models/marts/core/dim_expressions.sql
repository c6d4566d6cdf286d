select
    expression_id,
    expression_name,
    brand_id,
    brand_name,
    category_code,
    category_name,
    age_statement_years,
    minimum_age_years,
    abv_pct,
    bottle_ml,
    bottles_per_case,
    launched_on
from {{ ref("int_expressions_enriched") }}
