"""Any accepted form of a Snowflake private key in, one canonical form out.

Keys reach an environment variable through dashboards, `.env` files, CI secrets and YAML, and each
bends them in its own way: newlines escaped or lost, quotes, base64 on top. `normalise` undoes that
once. What lies behind it sees single-line base64 of unencrypted PKCS#8 DER, which dbt-snowflake
takes without a passphrase and dbt can scrub from its logs.

Every refusal is a `KeyFault`, and none is raised while another error is being handled: the errors
of codecs and loaders hold their input, and a chained error would carry it into a log.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from dagster_apollo import key_forms
from dagster_apollo.errors import KeyFault, PrivateKeyError

__all__ = [
    "MAX_BYTES",
    "MIN_BITS",
    "KeyFault",
    "PrivateKey",
    "PrivateKeyError",
    "normalise",
    "read",
]

MAX_BYTES = 64 * 1024
MIN_BITS = 2048


@dataclass(frozen=True, slots=True)
class PrivateKey:
    """An RSA key that Snowflake takes. Shows its fingerprint, never itself."""

    fingerprint: str
    """`SHA256:…` of the public half, as `DESC USER` shows it in RSA_PUBLIC_KEY_FP. Not a secret."""
    bits: int
    base64_der: str = field(repr=False)
    """The canonical form: base64, on one line, of unencrypted PKCS#8 DER. Secret."""


def normalise(raw: str | bytes, passphrase: str | None = None) -> PrivateKey:
    """Read a private key in any accepted form, or raise PrivateKeyError.

    An empty passphrase counts as none; any other is used as it is.
    """
    if len(raw) > MAX_BYTES:
        raise PrivateKeyError(KeyFault.TOO_BIG)
    found = key_forms.find(raw)
    key = _load(found)
    encrypted = key is KeyFault.PASSPHRASE_MISSING
    if encrypted and passphrase:
        key = _load_encrypted(found, passphrase)
    if isinstance(key, KeyFault):
        raise PrivateKeyError(key)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise PrivateKeyError(_kind(key))
    if key.key_size < MIN_BITS:
        raise PrivateKeyError(KeyFault.TOO_SHORT)
    if passphrase and not encrypted:  # dbt fails on it, too
        raise PrivateKeyError(KeyFault.PASSPHRASE_SUPERFLUOUS)
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return PrivateKey(
        fingerprint="SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode(),
        bits=key.key_size,
        base64_der=base64.b64encode(private).decode(),
    )


def read(path: str | os.PathLike[str]) -> bytes:
    """Read a key file for `normalise`, or raise PrivateKeyError."""
    text = os.fspath(path)
    if not key_forms.passes_for_path(text):
        raise PrivateKeyError(KeyFault.PATH_IS_KEY)
    content = _read(text)
    if isinstance(content, KeyFault):
        raise PrivateKeyError(content)
    return content


def _read(text: str) -> bytes | KeyFault:
    try:
        path = Path(text).expanduser()
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe could keep us waiting for ever
            return KeyFault.FILE_IRREGULAR
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return KeyFault.FILE_MISSING
    except (OSError, ValueError, RuntimeError):  # no permission; a NUL in the path; `~` of no one
        return KeyFault.FILE_UNREADABLE
    if len(content) > MAX_BYTES:
        return KeyFault.TOO_BIG
    return content if content.strip() else KeyFault.EMPTY


def _load(found: key_forms.Found) -> PrivateKeyTypes | KeyFault:
    try:
        return _loader(found)(found.data, None)
    except TypeError:  # how cryptography says that it wants a passphrase
        return KeyFault.PASSPHRASE_MISSING
    except UnsupportedAlgorithm:
        return KeyFault.OPENSSH_ENCRYPTION if found.form == "openssh" else KeyFault.OTHER_KEY
    except ValueError:
        return _kind_of_der(found.data) if found.form == "der" else KeyFault.DAMAGED


def _load_encrypted(found: key_forms.Found, passphrase: str) -> PrivateKeyTypes | KeyFault:
    openssh = found.form == "openssh"
    unsupported = KeyFault.OPENSSH_ENCRYPTION if openssh else KeyFault.UNSUPPORTED_ENCRYPTION
    try:
        # surrogateescape: os.environ's way with bytes that are not UTF-8
        return _loader(found)(found.data, passphrase.encode("utf-8", "surrogateescape"))
    except UnsupportedAlgorithm:
        return unsupported
    except ValueError as error:
        # cryptography 50 tells an unknown cipher from a wrong passphrase by its text alone. A wrong
        # passphrase may also yield plaintext that does not parse, so all other text means that.
        return unsupported if "unknown" in str(error).lower() else KeyFault.PASSPHRASE_WRONG


def _loader(found: key_forms.Found) -> Callable[[bytes, bytes | None], PrivateKeyTypes]:
    match found.form:
        case "der":
            return serialization.load_der_private_key
        case "pem":
            return serialization.load_pem_private_key
        case "openssh":
            return serialization.load_ssh_private_key


def _kind(key: object) -> KeyFault:
    match key:
        case ec.EllipticCurvePrivateKey():
            return KeyFault.EC_KEY
        case ed25519.Ed25519PrivateKey():
            return KeyFault.ED25519_KEY
        case dsa.DSAPrivateKey():
            return KeyFault.DSA_KEY
        case _:
            return KeyFault.OTHER_KEY


def _kind_of_der(der: bytes) -> KeyFault:
    """Name DER that is no private key."""
    kinds: list[tuple[Callable[[bytes], object], KeyFault]] = [
        (serialization.load_der_public_key, KeyFault.PUBLIC_KEY),
        (x509.load_der_x509_certificate, KeyFault.CERTIFICATE),
        (x509.load_der_x509_csr, KeyFault.CERTIFICATE),
    ]
    for load, fault in kinds:
        with contextlib.suppress(ValueError, UnsupportedAlgorithm):
            load(der)
            return fault
    # RFC 7292: a PKCS#12 store is a sequence that begins with the version, the integer 3
    return KeyFault.KEYSTORE if b"\x02\x01\x03" in der[2:9] else KeyFault.DAMAGED
