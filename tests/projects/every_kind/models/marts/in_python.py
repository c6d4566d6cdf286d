def model(dbt, session):
    dbt.config(materialized="table")
    return dbt.ref("stg_gadgets").filter("price > 11")
