"""What the rehearsal needs of the tests next door."""

from tests.integration.conftest import fakesnow_server, rsa_key
from tests.ui.conftest import browser

__all__ = ["browser", "fakesnow_server", "rsa_key"]
