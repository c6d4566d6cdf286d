"""What was given, peeled down to something a loader of `cryptography` takes.

Text, PEM and base64 may lie around a key in any order, each bent by whatever carried it. Nothing
here decrypts: `private_key` does.
"""

from __future__ import annotations

import base64
import re
import textwrap
import unicodedata
from typing import Literal, NamedTuple

from dagster_apollo.errors import KeyFault, PrivateKeyError

_LAYERS = 2  # of base64 around a PEM
_LONGEST_PATH = 1000  # characters; the smallest key has more
_EDGES = " \t\r\n\v\f\0\u00a0\"'`\u2018\u2019\u201a\u201c\u201d\u201e\u00ab\u00bb\u2039\u203a"
_OPENSSH_MAGIC = b"openssh-key-v1\0"
_PATH = re.compile(
    r"(?i)(file:|[a-z]:\\|~|\.{0,2}/).*|.*\.(p8|pk8|pem|key|der|txt|p12|pfx|ppk|pub|crt|cer)"
)
_HEADER = re.compile(r"-{2,5}\s*(?:BEGIN|END)")
_BEGIN = re.compile(r"-{2,5}\s*BEGIN([A-Z0-9\s]{1,60}?)-{2,5}")
_BLOCK = re.compile(_BEGIN.pattern + r"(.*?)-{2,5}\s*END([A-Z0-9\s]{1,60}?)-{2,5}", re.DOTALL)
_DEK_INFO = re.compile(
    r"\s*Proc-Type:\s*4,\s*ENCRYPTED\s*DEK-Info:\s*([A-Z0-9-]+),\s*(.*)", re.DOTALL
)
# The ciphers cryptography 50 knows in a DEK-Info, with the length of their IV: when newlines are
# lost, nothing else tells where the IV ends and the key begins.
_IV_DIGITS = {"DES-EDE3-CBC": 16, "AES-128-CBC": 32, "AES-256-CBC": 32}


class Found(NamedTuple):
    """A key, perhaps encrypted, in a form that has a loader."""

    form: Literal["der", "pem", "openssh"]
    data: bytes


def find(raw: str | bytes) -> Found:
    """Find the one key in what was given, or raise PrivateKeyError."""
    return _in_text(raw, _LAYERS) if isinstance(raw, str) else _in_bytes(raw, _LAYERS)


def passes_for_path(text: str) -> bool:
    """Tell whether text given as the path of a key file could be one, and is not the key."""
    return len(text) <= _LONGEST_PATH and not _HEADER.search(text)


def _in_bytes(data: bytes, layers: int) -> Found:
    if _is_der(data):
        return Found("der", _whole(data))
    if data.startswith(_OPENSSH_MAGIC):
        return Found("openssh", _pem("OPENSSH PRIVATE KEY", "", data))
    if re.match(rb"\0\0\0.(ssh-|ecdsa-|sk-)", data, re.DOTALL):
        raise PrivateKeyError(KeyFault.PUBLIC_KEY)
    # Windows PowerShell writes UTF-16 to files, with a byte order mark, and into base64, without.
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    encoding = "utf-16" if marked else "utf-16-le" if data[1:2] == b"\0" else "utf-8"
    return _in_text(data.decode(encoding, "replace"), layers)


def _in_text(text: str, layers: int) -> Found:
    # Cf: byte order mark, zero-width blanks and whatever else copying adds and nobody sees
    text = "".join(char for char in text if unicodedata.category(char) != "Cf").strip(_EDGES)
    if layers == _LAYERS and len(text) <= _LONGEST_PATH and _PATH.fullmatch(text):
        raise PrivateKeyError(KeyFault.PATH_AS_KEY)
    if text.startswith("PuTTY-User-Key-File"):
        raise PrivateKeyError(KeyFault.PUTTY)
    if re.match(r"(ssh|ecdsa|sk)-\S+\s+AAAA", text):
        raise PrivateKeyError(KeyFault.PUBLIC_KEY)
    # Newlines escaped, once or more often. Nothing in a key has a backslash of its own.
    text = re.sub(r"\\+[nrt]?", "\n", text).strip(_EDGES)
    if not text:
        raise PrivateKeyError(KeyFault.EMPTY)
    if _HEADER.search(text):
        return _in_pem(text)
    if layers == 0:
        raise PrivateKeyError(KeyFault.NOT_A_KEY)
    return _in_bytes(_decode(text, KeyFault.NOT_A_KEY), layers - 1)


def _in_pem(text: str) -> Found:
    labels = [_squeeze(label) for label in _BEGIN.findall(text)]
    private = [label for label in labels if label.endswith("PRIVATEKEY")]
    if len(private) > 1:
        raise PrivateKeyError(KeyFault.SEVERAL)
    if labels and not private:
        raise PrivateKeyError(_kind_of_pem(labels))
    for begin, body, end in _BLOCK.findall(text):
        label = _squeeze(begin)
        if label not in private:  # a certificate beside the key does no harm
            continue
        if label != _squeeze(end):
            break
        if "Proc-Type" in body:
            return _in_encrypted_pem(label.removesuffix("PRIVATEKEY") + " PRIVATE KEY", body)
        data = _decode(body, KeyFault.DAMAGED)
        if not _is_der(data) and not data.startswith(_OPENSSH_MAGIC):
            raise PrivateKeyError(KeyFault.DAMAGED)
        return _in_bytes(data, 0)
    raise PrivateKeyError(KeyFault.TRUNCATED)


def _kind_of_pem(labels: list[str]) -> KeyFault:
    """Name PEM blocks none of which is a private key."""
    if any("PUBLICKEY" in label for label in labels):
        return KeyFault.PUBLIC_KEY
    if any(re.search("CERTIFICATE|PKCS7|CMS", label) for label in labels):
        return KeyFault.CERTIFICATE
    return KeyFault.NOT_A_KEY


def _in_encrypted_pem(label: str, body: str) -> Found:
    """Rebuild a PEM that says in its own header how it is encrypted (RFC 1421)."""
    header = _DEK_INFO.match(body)
    if header is None:
        raise PrivateKeyError(KeyFault.DAMAGED)
    cipher, rest = header[1], _squeeze(header[2])
    if cipher not in _IV_DIGITS:
        raise PrivateKeyError(KeyFault.UNSUPPORTED_ENCRYPTION)
    iv, body = rest[: _IV_DIGITS[cipher]], rest[_IV_DIGITS[cipher] :]
    data = _decode(body, KeyFault.DAMAGED)
    if len(data) % (len(iv) // 2 or 1):  # not whole blocks of the cipher
        raise PrivateKeyError(KeyFault.TRUNCATED)
    return Found("pem", _pem(label, f"Proc-Type: 4,ENCRYPTED\nDEK-Info: {cipher},{iv}\n\n", data))


def _decode(text: str, fault: KeyFault) -> bytes:
    """Decode base64 of either alphabet, broken into lines or not, padded or not."""
    text = _squeeze(text).translate(str.maketrans("-_", "+/")).rstrip("=")
    if not re.fullmatch(r"[A-Za-z0-9+/]+", text):
        raise PrivateKeyError(fault)
    # A lone character at the end is half a byte: drop it, and let the length of the DER tell.
    text = text[:-1] if len(text) % 4 == 1 else text
    return base64.b64decode(text + "=" * (-len(text) % 4))


def _is_der(data: bytes) -> bool:
    """Tell a DER sequence from text that happens to begin with "0"."""
    return (
        data[:1] == b"\x30"
        and len(data) > 1
        and (data[1] in range(0x81, 0x85) or len(data) == 2 + data[1])
    )


def _whole(der: bytes) -> bytes:
    """Hold a DER sequence against the length it states."""
    digits = max(0, der[1] - 0x80)
    length = int.from_bytes(der[2 : 2 + digits]) if digits else der[1]
    end = 2 + digits + length
    if len(der) < end:
        raise PrivateKeyError(KeyFault.TRUNCATED)
    if _is_der(der[end:]):
        raise PrivateKeyError(KeyFault.SEVERAL)
    if der[end:].strip(b"\r\n\0 "):
        raise PrivateKeyError(KeyFault.DAMAGED)
    return der[:end]


def _squeeze(text: str) -> str:
    return "".join(text.split())


def _pem(label: str, header: str, data: bytes) -> bytes:
    body = "\n".join(textwrap.wrap(base64.b64encode(data).decode(), 64))
    return f"-----BEGIN {label}-----\n{header}{body}\n-----END {label}-----\n".encode()
