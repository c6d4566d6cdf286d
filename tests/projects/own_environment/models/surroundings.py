import importlib.util
import json
import sys


def model(dbt, session):
    dbt.config(materialized="table")
    dbt.ref("versions")
    apollo = importlib.util.find_spec("dagster_apollo") is not None
    found = json.dumps({"prefix": sys.prefix, "path": sys.path, "apollo": apollo})
    return session.sql(f"select '{found}' as found")
