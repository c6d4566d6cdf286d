"""Every error Apollo raises on purpose.

    ApolloError                 something a person can mend
    ├── ConfigurationError      the environment or a file breaks the contract; lists every problem
    ├── PrivateKeyError         a Snowflake private key cannot be used
    ├── TenantError             a tenant cannot be found, read or told from another
    └── PrepareError            a dbt project cannot be made ready to run

A message says what is wrong, where, and what to do, in terms of names and codes: never a value
that could be a secret. The command line prints it without a traceback, and exits with `exit_code`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Final, Self

EXIT_DEFECT: Final = 70
"""The exit code where nobody but a developer can mend it (EX_SOFTWARE of sysexits.h)."""


class ApolloError(Exception):
    """Something a person can mend; its text is written for them."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the configuration."""

    variable: str
    """Name of the environment variable or file at fault; never its value."""
    what: str
    """What is wrong, in lower case and without a full stop."""
    mend: str
    """What to do about it: a whole sentence, or a command."""

    def __str__(self) -> str:
        return f"{self.variable}: {self.what}. {self.mend}"


class ConfigurationError(ApolloError):
    """The configuration breaks the contract: every problem, so that one round mends them all."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


_NEW_KEY = (
    "Make an RSA key (openssl genrsa 2048 | openssl pkcs8 -topk8 -v2 aes-256-cbc -out rsa_key.p8) "
    "and register its public half with ALTER USER ... SET RSA_PUBLIC_KEY."
)
_GIVE_PRIVATE = "Give the private key instead (rsa_key.p8, for example)."


class KeyFault(StrEnum):
    """Why a private key cannot be used. Variables in `mend` go without a tenant's prefix."""

    what: str
    mend: str

    def __new__(cls, code: str, what: str, mend: str) -> Self:
        """Give each member its text beside its code."""
        member = str.__new__(cls, code)
        member._value_, member.what, member.mend = code, what, mend
        return member

    EMPTY = "empty", "the key is empty", "Give the contents of the key file, or their base64."
    TOO_BIG = "too_big", "the key is larger than 64 KiB, as no private key is", _GIVE_PRIVATE
    NOT_A_KEY = (
        "not_a_key",
        "the key is not a private key in any known form",
        "Give the contents of the key file (rsa_key.p8, for example) as they are, or their base64.",
    )
    PATH_AS_KEY = (
        "path_as_key",
        "the key looks like the path of a file",
        "Put the path in SNOWFLAKE_PRIVATE_KEY_PATH, or give the contents of the file.",
    )
    PUBLIC_KEY = "public_key", "the key is a public key", _GIVE_PRIVATE
    CERTIFICATE = "certificate", "the key is a certificate", _GIVE_PRIVATE
    KEYSTORE = (
        "keystore",
        "the key is a PKCS#12 key store (.p12, .pfx)",
        "Take the key out of it: openssl pkcs12 -nocerts -in STORE.p12 -out rsa_key.p8",
    )
    PUTTY = (
        "putty",
        "the key is in PuTTY's own form (.ppk)",
        "Convert it: puttygen KEY.ppk -O private-openssh -o rsa_key.pem",
    )
    EC_KEY = "ec_key", "the key is an elliptic curve (EC) key, not RSA", _NEW_KEY
    ED25519_KEY = "ed25519_key", "the key is an Ed25519 key, not RSA", _NEW_KEY
    DSA_KEY = "dsa_key", "the key is a DSA key, not RSA", _NEW_KEY
    OTHER_KEY = "other_key", "the key is not an RSA key", _NEW_KEY
    TOO_SHORT = (
        "too_short",
        "the key is shorter than 2048 bits, which Snowflake refuses",
        _NEW_KEY,
    )
    SEVERAL = "several", "the key holds more than one private key", "Give one key alone."
    TRUNCATED = (
        "truncated",
        "the key is cut short",
        "Give all of it, BEGIN and END lines included; in a .env file, several lines need quotes.",
    )
    DAMAGED = (
        "damaged",
        "the key looks like a private key, but its contents do not form one",
        "Copy it from its file again, unchanged.",
    )
    PASSPHRASE_MISSING = (
        "passphrase_missing",
        "the key is encrypted and no passphrase is given",
        "Set SNOWFLAKE_PRIVATE_KEY_PASSPHRASE.",
    )
    PASSPHRASE_WRONG = (
        "passphrase_wrong",
        "the passphrase does not open the key",
        "Correct SNOWFLAKE_PRIVATE_KEY_PASSPHRASE; any quotes and blanks in it count.",
    )
    PASSPHRASE_SUPERFLUOUS = (
        "passphrase_superfluous",
        "the key is not encrypted, yet a passphrase is given",
        "Unset SNOWFLAKE_PRIVATE_KEY_PASSPHRASE.",
    )
    UNSUPPORTED_ENCRYPTION = (
        "unsupported_encryption",
        "the key is encrypted in a way that cannot be read here",
        (
            "Encrypt it anew (before OpenSSL 3, without the -provider options): openssl pkcs8 "
            "-topk8 -v2 aes-256-cbc -provider default -provider legacy -in OLD.p8 -out rsa_key.p8"
        ),
    )
    OPENSSH_ENCRYPTION = (
        "openssh_encryption",
        "the key is encrypted in OpenSSH's own form, which cannot be read here",
        "Copy the file, then convert the copy in place: ssh-keygen -p -m PKCS8 -f COPY",
    )
    PATH_IS_KEY = (
        "path_is_key",
        "the path of the key file holds a key instead of a path",
        "Put the key in SNOWFLAKE_PRIVATE_KEY_PEM.",
    )
    FILE_MISSING = (
        "file_missing",
        "the key file does not exist",
        "Name a file that exists on the machine where dbt runs, by its absolute path.",
    )
    FILE_IRREGULAR = (
        "file_irregular",
        "the path of the key file leads to a directory or device",
        "Name the key file itself.",
    )
    FILE_UNREADABLE = (
        "file_unreadable",
        "the key file cannot be read",
        "Let the user who runs Apollo read it: see the permissions of the file and its directory.",
    )


class PrivateKeyError(ApolloError):
    """A private key cannot be used.

    Made of a KeyFault and nothing else, so no part of a key or passphrase can get into it. The text
    speaks of "the key": whoever knows which variable or file it came from adds that name.
    """

    def __init__(self, code: KeyFault) -> None:
        super().__init__(code)
        self.code = code
        self.what = code.what
        self.mend = code.mend

    def __str__(self) -> str:
        return f"{self.what}. {self.mend}"


class TenantError(ApolloError):
    """A tenant cannot be found, read or told from another."""


class PrepareError(ApolloError):
    """A dbt project cannot be made ready to run."""
