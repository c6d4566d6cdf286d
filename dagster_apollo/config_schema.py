"""The JSON schema of apollo.yml, for editors and for `make lint`; `make schema` writes it anew.

It is what the model can say of itself. That a cron, a time zone or a variable's name is valid is
for Apollo to say when it reads the file.
"""

import json
from pathlib import Path
from typing import Final

from dagster_apollo.tenant_config import TenantConfig

SCHEMA_FILE: Final = Path(__file__).with_name("apollo.schema.json")
"""The committed schema, which the first line of an apollo.yml names for the editor."""
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema_text() -> str:
    """The contents of the schema's file."""
    schema = {"$schema": _DIALECT, **TenantConfig.model_json_schema()}
    return json.dumps(schema, indent=2) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
