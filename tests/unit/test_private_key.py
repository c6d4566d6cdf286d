"""Every form of a key a person may paste, and every way it may be broken."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib.util
import os
import pickle
import re
import shutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PrivateFormat,
    PublicFormat,
    pkcs12,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from dagster_apollo import key_forms, private_key
from dagster_apollo.errors import KeyFault, PrivateKeyError
from dagster_apollo.private_key import normalise, read

pytestmark = pytest.mark.unit

PASSPHRASE = ' "zebra\'s crossing" '  # quotes and blanks count
PLAIN = serialization.NoEncryption()
ENCRYPTED = serialization.BestAvailableEncryption(PASSPHRASE.encode())
PKCS1 = PrivateFormat.TraditionalOpenSSL
PKCS8 = PrivateFormat.PKCS8
REAL_LOADER = private_key._loader

needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
needs_ssh_keygen = pytest.mark.skipif(
    not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed"
)


@pytest.fixture(scope="module", autouse=True)
def _without_prime_checks() -> Iterator[None]:
    """Spare each of some thousand loads 40 ms of proving that the same two numbers are prime."""

    def loader(found: key_forms.Found) -> Callable[..., PrivateKeyTypes]:
        load: Callable[..., PrivateKeyTypes] = REAL_LOADER(found)
        return functools.partial(load, unsafe_skip_rsa_key_validation=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_key, "_loader", loader)
        yield


@functools.cache
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def pem(form: PrivateFormat = PKCS8, how: serialization.KeySerializationEncryption = PLAIN) -> str:
    return key().private_bytes(Encoding.PEM, form, how).decode()


@functools.cache
def der(
    form: PrivateFormat = PKCS8, how: serialization.KeySerializationEncryption = PLAIN
) -> bytes:
    return key().private_bytes(Encoding.DER, form, how)


def canonical() -> str:
    return base64.b64encode(der()).decode()


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def body(text: str) -> str:
    return re.sub(r"-----[^-]+-----", "", text)


def openssl(*arguments: str, given: str = "") -> str:
    command = ["openssl", *arguments, "-provider", "default", "-provider", "legacy"]
    environment = {**os.environ, "PASSPHRASE": PASSPHRASE}
    return subprocess.run(
        command, input=given, env=environment, capture_output=True, text=True, check=True
    ).stdout


def fault_of(raw: str | bytes, passphrase: str | None = None) -> KeyFault:
    with pytest.raises(PrivateKeyError) as caught:
        normalise(raw, passphrase)
    return caught.value.code


# Accepted forms


PEMS: dict[str, Callable[[], str]] = {
    "pkcs8": pem,
    "pkcs1": lambda: pem(PKCS1),
    "openssh": lambda: pem(PrivateFormat.OpenSSH),
    "encrypted pkcs8": lambda: pem(PKCS8, ENCRYPTED),
    "encrypted pkcs1": lambda: pem(PKCS1, ENCRYPTED),
}
BENDS: dict[str, Callable[[str], str | bytes]] = {
    "as it is": lambda text: text,
    "no newline at the end": str.strip,
    "bytes": str.encode,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "escaped newlines": lambda text: text.replace("\n", r"\n"),
    "escaped CRLF": lambda text: text.replace("\n", r"\r\n"),
    "newlines escaped twice": lambda text: text.replace("\n", r"\\n"),
    "shell continuation": lambda text: text.replace("\n", "\\\n"),
    "blanks for newlines": lambda text: text.replace("\n", " "),
    "nothing for newlines": lambda text: text.replace("\n", ""),
    "no blanks at all": lambda text: "".join(text.split()),
    "indented": lambda text: text.replace("\n", "\n    "),
    "single quotes": lambda text: f"'{text}'",
    "double quotes": lambda text: f'"{text}"',
    "both quotes": lambda text: f"\"'{text}'\"",
    "escaped quotes": lambda text: f'\\"{text}\\"',
    "curly quotes": lambda text: f"\u201c{text}\u201d",
    "blanks around": lambda text: f" \t\n{text}\u00a0 ",
    "byte order mark": lambda text: f"\ufeff{text}",
    "zero-width blanks": lambda text: text.replace("\n", "\u200b\n\u200b"),
    "UTF-8 file with byte order mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16 file": lambda text: text.encode("utf-16"),
    "assignment": lambda text: f"SNOWFLAKE_PRIVATE_KEY_PEM='{text}'",
    "base64": b64,
    "base64 in lines": lambda text: base64.encodebytes(text.encode()).decode(),
    "base64 of base64": lambda text: b64(b64(text)),
    "base64 of UTF-16": lambda text: b64(text.encode("utf-16-le")),
    "base64 of escaped": lambda text: b64(text.replace("\n", r"\n")),
    "quoted base64 without padding": lambda text: f"'{b64(text).rstrip('=')}'",
}


@pytest.mark.parametrize("bend", BENDS)
@pytest.mark.parametrize("kind", PEMS)
def test_a_pem_is_read_however_it_was_bent(kind: str, bend: str) -> None:
    passphrase = PASSPHRASE if kind.startswith("encrypted") else None
    assert normalise(BENDS[bend](PEMS[kind]()), passphrase).base64_der == canonical()


DERS: dict[str, Callable[[], bytes]] = {
    "pkcs8": der,
    "pkcs1": lambda: der(PKCS1),
    "encrypted pkcs8": lambda: der(PKCS8, ENCRYPTED),
}
DER_BENDS: dict[str, Callable[[bytes], str | bytes]] = {
    "raw": lambda data: data,
    "raw with newline": lambda data: data + b"\n",
    "base64": b64,
    "base64 in bytes": base64.b64encode,
    "base64 in lines": lambda data: base64.encodebytes(data).decode(),
    "base64 in escaped lines": lambda data: base64.encodebytes(data).decode().replace("\n", r"\n"),
    "base64 without padding": lambda data: b64(data).rstrip("="),
    "urlsafe base64": lambda data: base64.urlsafe_b64encode(data).decode(),
    "quoted base64": lambda data: f'"{b64(data)}"',
    "base64 of base64": lambda data: b64(b64(data)),
}


@pytest.mark.parametrize("bend", DER_BENDS)
@pytest.mark.parametrize("kind", DERS)
def test_der_is_read_raw_and_as_base64(kind: str, bend: str) -> None:
    passphrase = PASSPHRASE if kind.startswith("encrypted") else None
    assert normalise(DER_BENDS[bend](DERS[kind]()), passphrase).base64_der == canonical()


def test_the_body_of_a_pem_is_read_without_its_header() -> None:
    for text in (pem(), pem(PKCS1), pem(PrivateFormat.OpenSSH)):
        assert normalise(body(text)).base64_der == canonical()
    assert normalise(body(pem(PKCS8, ENCRYPTED)), PASSPHRASE).base64_der == canonical()


def test_a_key_is_found_among_certificates_and_attributes() -> None:
    bag = f"Bag Attributes\n    friendlyName: x\n{certificate()}{pem()}{public()}"
    assert normalise(bag).base64_der == canonical()


OLD_PKCS8 = ("PBE-SHA1-3DES", "PBE-MD5-DES", "PBE-SHA1-RC2-40", "PBE-SHA1-RC4-128")
UNREADABLE_PKCS8 = ("PBE-SHA1-2DES", "PBE-SHA1-DES", "PBE-MD5-RC2-64", "PBE-SHA1-RC2-128")


@functools.cache
def pbes1(scheme: str) -> str:
    return openssl("pkcs8", "-topk8", "-v1", scheme, "-passout", "env:PASSPHRASE", given=pem())


@needs_openssl
@pytest.mark.parametrize("scheme", OLD_PKCS8)
def test_old_encryption_of_pkcs8_is_read(scheme: str) -> None:
    text = pbes1(scheme)
    assert normalise(text, PASSPHRASE).base64_der == canonical()
    assert normalise(b64(text), PASSPHRASE).base64_der == canonical()
    assert normalise(body(text), PASSPHRASE).base64_der == canonical()
    assert fault_of(text) is KeyFault.PASSPHRASE_MISSING
    assert fault_of(text, "wrong") is KeyFault.PASSPHRASE_WRONG


@needs_openssl
@pytest.mark.parametrize("cipher", ["-des3", "-aes128", "-aes256"])
def test_encrypted_pkcs1_is_read_even_on_one_line(cipher: str) -> None:
    text = openssl("rsa", "-traditional", cipher, "-passout", "env:PASSPHRASE", given=pem())
    for bent in (text, text.replace("\n", " "), text.replace("\n", "")):
        assert normalise(bent, PASSPHRASE).base64_der == canonical()
        assert fault_of(bent) is KeyFault.PASSPHRASE_MISSING
        assert fault_of(bent, "wrong") is KeyFault.PASSPHRASE_WRONG


def test_an_empty_passphrase_counts_as_none() -> None:
    assert normalise(pem(), "").base64_der == canonical()
    assert fault_of(pem(PKCS8, ENCRYPTED), "") is KeyFault.PASSPHRASE_MISSING


# The canonical form


def test_dbt_snowflake_loads_the_canonical_form() -> None:
    """Load dbt-snowflake's own loader from its file: importing its package takes 3 s."""
    adapters = importlib.util.find_spec("dbt.adapters")
    assert adapters is not None
    files = [
        Path(folder, "snowflake/auth.py") for folder in adapters.submodule_search_locations or ()
    ]
    file = next(file for file in files if file.exists())
    spec = importlib.util.spec_from_file_location("dbt_snowflake_auth", file)
    assert spec is not None
    assert spec.loader is not None
    auth = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(auth)

    loaded = auth.private_key_from_string(normalise(pem(PKCS1)).base64_der)

    assert loaded.private_numbers() == key().private_numbers()


def test_the_fingerprint_is_the_one_snowflake_shows() -> None:
    spki = key().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    known = normalise(pem())
    assert known.fingerprint == "SHA256:" + b64(hashlib.sha256(spki).digest())
    assert known.bits == 2048


def test_a_key_never_shows_itself() -> None:
    known = normalise(pem())
    for shown in (repr(known), str(known), f"{known}", repr([known]), repr({"key": known})):
        assert known.fingerprint in shown
        assert not pieces(canonical()) & pieces(shown.replace(known.fingerprint, ""))


# What is refused, by name


@functools.cache
def public(form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> str:
    return key().public_key().public_bytes(Encoding.PEM, form).decode()


@functools.cache
def certificate() -> str:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "apollo")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key().public_key(), 1, now, now + timedelta(1))
    return builder.sign(key(), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def request() -> bytes:
    builder = x509.CertificateSigningRequestBuilder(x509.Name([]))
    return builder.sign(key(), hashes.SHA256()).public_bytes(Encoding.DER)


def ssh_public() -> str:
    return key().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def other(made: PrivateKeyTypes, form: PrivateFormat = PKCS8) -> str:
    return made.private_bytes(Encoding.PEM, form, PLAIN).decode()


def block(label: str, text: str) -> str:
    return f"-----BEGIN {label}-----\n{text}\n-----END {label}-----\n"


PRIVATE = "PRIVATE" + " KEY"  # apart, so that no scanner takes this file for a key
EC = ec.generate_private_key(ec.SECP256R1())
REFUSED: dict[str, tuple[KeyFault, Callable[[], str | bytes]]] = {
    "nothing": (KeyFault.EMPTY, lambda: ""),
    "no bytes": (KeyFault.EMPTY, lambda: b""),
    "blanks and quotes": (KeyFault.EMPTY, lambda: " '\ufeff\n\" "),
    "escaped newline": (KeyFault.EMPTY, lambda: r"\n"),
    "a sentence": (KeyFault.NOT_A_KEY, lambda: "ask Magda for the key"),
    "base64 of a sentence": (KeyFault.NOT_A_KEY, lambda: b64("ask Magda for the key")),
    "base64 of a path": (KeyFault.NOT_A_KEY, lambda: b64("~/.ssh/snowflake")),
    "bytes of nothing": (KeyFault.NOT_A_KEY, lambda: bytes(range(128, 256))),
    "three times base64": (KeyFault.NOT_A_KEY, lambda: b64(b64(b64(pem())))),
    "PGP": (KeyFault.NOT_A_KEY, lambda: block(f"PGP {PRIVATE} BLOCK", "lQOYBF")),
    "DH parameters": (KeyFault.NOT_A_KEY, lambda: block("DH PARAMETERS", "MEYCQQ")),
    "too long": (KeyFault.TOO_BIG, lambda: "A" * (private_key.MAX_BYTES + 1)),
    "absolute path": (KeyFault.PATH_AS_KEY, lambda: "/etc/secrets/rsa_key"),
    "home path": (KeyFault.PATH_AS_KEY, lambda: '"~/.ssh/snowflake"'),
    "relative path": (KeyFault.PATH_AS_KEY, lambda: "keys/rsa_key.p8\n"),
    "Windows path": (KeyFault.PATH_AS_KEY, lambda: r"C:\keys\new\rsa_key"),
    "public PEM": (KeyFault.PUBLIC_KEY, public),
    "public PKCS#1 PEM": (KeyFault.PUBLIC_KEY, lambda: public(PublicFormat.PKCS1)),
    "public body": (KeyFault.PUBLIC_KEY, lambda: body(public())),
    "public PKCS#1 body": (KeyFault.PUBLIC_KEY, lambda: body(public(PublicFormat.PKCS1))),
    "public PEM in base64": (KeyFault.PUBLIC_KEY, lambda: b64(public())),
    "public ssh": (KeyFault.PUBLIC_KEY, ssh_public),
    "public ssh, bare": (KeyFault.PUBLIC_KEY, lambda: ssh_public().split()[1]),
    "public, labelled private": (KeyFault.PUBLIC_KEY, lambda: block(PRIVATE, body(public()))),
    "certificate": (KeyFault.CERTIFICATE, certificate),
    "certificate body": (KeyFault.CERTIFICATE, lambda: body(certificate())),
    "certificate request": (KeyFault.CERTIFICATE, request),
    "PKCS#12": (
        KeyFault.KEYSTORE,
        lambda: pkcs12.serialize_key_and_certificates(b"x", key(), None, None, PLAIN),
    ),
    "PuTTY": (KeyFault.PUTTY, lambda: "PuTTY-User-Key-File-3: ssh-rsa\nEncryption: none\n"),
    "EC": (KeyFault.EC_KEY, lambda: other(EC)),
    "EC, SEC 1": (KeyFault.EC_KEY, lambda: other(EC, PKCS1)),
    "EC body": (KeyFault.EC_KEY, lambda: body(other(EC))),
    "EC, OpenSSH": (KeyFault.EC_KEY, lambda: other(EC, PrivateFormat.OpenSSH)),
    "EC with parameters": (
        KeyFault.EC_KEY,
        lambda: block("EC PARAMETERS", "BggqhkjOPQMBBw==") + other(EC, PKCS1),
    ),
    "Ed25519": (KeyFault.ED25519_KEY, lambda: other(ed25519.Ed25519PrivateKey.generate())),
    "Ed25519 body": (
        KeyFault.ED25519_KEY,
        lambda: body(other(ed25519.Ed25519PrivateKey.generate())),
    ),
    "DSA": (KeyFault.DSA_KEY, lambda: other(dsa.generate_private_key(1024))),
    "X25519": (KeyFault.OTHER_KEY, lambda: other(x25519.X25519PrivateKey.generate())),
    "1024 bits": (KeyFault.TOO_SHORT, lambda: other(rsa.generate_private_key(65537, 1024))),
    "two PEMs": (KeyFault.SEVERAL, lambda: pem() + pem(PKCS1)),
    "two DERs": (KeyFault.SEVERAL, lambda: der() + der()),
    "first line alone": (KeyFault.TRUNCATED, lambda: pem().splitlines()[0]),
    "no BEGIN": (KeyFault.TRUNCATED, lambda: pem()[40:]),
    "no END": (KeyFault.TRUNCATED, lambda: pem()[:-30]),
    "another END": (KeyFault.TRUNCATED, lambda: pem().replace("END ", "END RSA ")),
    "a line missing": (
        KeyFault.TRUNCATED,
        lambda: "\n".join(pem().split("\n")[:5] + pem().split("\n")[6:]),
    ),
    "half a body": (KeyFault.TRUNCATED, lambda: canonical()[:801]),
    "half a DER": (KeyFault.TRUNCATED, lambda: der()[:600]),
    "half of base64": (KeyFault.TRUNCATED, lambda: b64(pem())[:801]),
    "something after DER": (KeyFault.DAMAGED, lambda: der() + b"more"),
    "stars in a body": (KeyFault.DAMAGED, lambda: block(PRIVATE, "MII***")),
    "no DER in a body": (KeyFault.DAMAGED, lambda: block(PRIVATE, b64("never a key"))),
    "sequence of nothing": (KeyFault.DAMAGED, lambda: block(PRIVATE, b64(b"\x30\x02\x05\x00"))),
    "strange DEK-Info": (KeyFault.DAMAGED, lambda: block(f"RSA {PRIVATE}", "Proc-Type: 4,CLEAR")),
    "unknown DEK-Info": (
        KeyFault.UNSUPPORTED_ENCRYPTION,
        lambda: pem(PKCS1, ENCRYPTED).replace("AES-256-CBC", "SEED-CBC"),
    ),
    "cut in whole lines": (
        KeyFault.TRUNCATED,
        lambda: re.sub(r"\n.{9}(.*\n---)", r"\n\1", pem(PKCS1, ENCRYPTED)),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_named(case: str) -> None:
    fault, make = REFUSED[case]
    assert fault_of(make()) is fault


def test_a_changed_number_in_a_key_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_key, "_loader", REAL_LOADER)
    changed = bytearray(der())
    changed[500] ^= 1
    assert fault_of(bytes(changed)) is KeyFault.DAMAGED


@pytest.mark.parametrize("kind", [kind for kind in PEMS if kind.startswith("encrypted")])
def test_a_passphrase_must_be_there_and_right(kind: str) -> None:
    text = PEMS[kind]()
    assert fault_of(text) is KeyFault.PASSPHRASE_MISSING
    for wrong in ("wrong", PASSPHRASE.strip(), PASSPHRASE * 200, "\udcff", "\ud800"):
        assert fault_of(text, wrong) is KeyFault.PASSPHRASE_WRONG


@pytest.mark.parametrize("kind", [kind for kind in PEMS if not kind.startswith("encrypted")])
def test_a_passphrase_for_a_plain_key_is_superfluous(kind: str) -> None:
    assert fault_of(PEMS[kind](), PASSPHRASE) is KeyFault.PASSPHRASE_SUPERFLUOUS


def test_a_passphrase_that_is_not_utf8_works_as_the_environment_holds_it() -> None:
    how = serialization.BestAvailableEncryption(b"caf\xe9")
    encrypted = key().private_bytes(Encoding.DER, PKCS8, how)
    assert normalise(encrypted, os.fsdecode(b"caf\xe9")).base64_der == canonical()


def test_an_unknown_cipher_is_told_from_a_wrong_passphrase() -> None:
    aes256_cbc, aes256_gcm = (bytes.fromhex("060960864801650304012" + end) for end in "ae")
    assert aes256_cbc in der(PKCS8, ENCRYPTED)
    unknown = der(PKCS8, ENCRYPTED).replace(aes256_cbc, aes256_gcm)
    assert fault_of(unknown, PASSPHRASE) is KeyFault.UNSUPPORTED_ENCRYPTION


@needs_openssl
@pytest.mark.parametrize("scheme", UNREADABLE_PKCS8)
def test_the_mend_for_unreadable_encryption_works(scheme: str, tmp_path: Path) -> None:
    old, new = tmp_path / "old.p8", tmp_path / "new.p8"
    old.write_text(pbes1(scheme))
    assert fault_of(read(old), PASSPHRASE) is KeyFault.UNSUPPORTED_ENCRYPTION

    command = KeyFault.UNSUPPORTED_ENCRYPTION.mend.partition("openssl ")[2]
    command = command.replace("OLD.p8", str(old)).replace("rsa_key.p8", str(new))
    openssl(*command.split(), "-passin", "env:PASSPHRASE", "-passout", "env:PASSPHRASE")

    assert normalise(read(new), PASSPHRASE).base64_der == canonical()


@needs_ssh_keygen
def test_the_mend_for_encrypted_openssh_works(tmp_path: Path) -> None:
    file = tmp_path / "COPY"
    file.write_text(pem(PrivateFormat.OpenSSH))
    file.chmod(0o600)
    keygen = ["ssh-keygen", "-q", "-f", str(file), "-p", "-N", PASSPHRASE]
    subprocess.run(keygen, check=True, capture_output=True)
    assert fault_of(read(file)) is KeyFault.PASSPHRASE_MISSING
    if importlib.util.find_spec("bcrypt") is None:  # with it, cryptography reads such keys
        assert fault_of(read(file), PASSPHRASE) is KeyFault.OPENSSH_ENCRYPTION

    mend = KeyFault.OPENSSH_ENCRYPTION.mend.partition("ssh-keygen ")[2].replace("COPY", str(file))
    keygen = ["ssh-keygen", *mend.split(), "-P", PASSPHRASE, "-N", PASSPHRASE]
    subprocess.run(keygen, check=True, capture_output=True)

    assert normalise(read(file), PASSPHRASE).base64_der == canonical()


# Files


def test_a_key_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rsa_key.p8").write_bytes(der())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read(tmp_path / "rsa_key.p8") == der()
    assert read("~/rsa_key.p8") == der()


def test_a_key_file_that_cannot_be_read_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "big").write_bytes(b"A" * (private_key.MAX_BYTES + 1))
    (tmp_path / "secret").write_text(pem())
    os.mkfifo(tmp_path / "pipe")
    faults: dict[str | Path, KeyFault] = {
        tmp_path / "missing": KeyFault.FILE_MISSING,
        tmp_path / "secret" / "below": KeyFault.FILE_MISSING,
        tmp_path: KeyFault.FILE_IRREGULAR,
        tmp_path / "pipe": KeyFault.FILE_IRREGULAR,
        tmp_path / "empty": KeyFault.EMPTY,
        tmp_path / "big": KeyFault.TOO_BIG,
        "no\0path": KeyFault.FILE_UNREADABLE,
        "~nobody-at-all/key": KeyFault.FILE_UNREADABLE,
        pem(): KeyFault.PATH_IS_KEY,
        canonical(): KeyFault.PATH_IS_KEY,
    }
    for path, fault in faults.items():
        with pytest.raises(PrivateKeyError) as caught:
            read(path)
        assert caught.value.code is fault

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/the/path")

    monkeypatch.setattr(Path, "open", refuse)  # root, who runs tests in containers, may read all
    with pytest.raises(PrivateKeyError) as caught:
        read(tmp_path / "secret")
    assert caught.value.code is KeyFault.FILE_UNREADABLE


# Whatever comes


def pieces(text: str) -> set[str]:
    return {text[start : start + 6] for start in range(len(text) - 5)}


def shows(error: BaseException, *secrets: str) -> bool:
    """Whether any text of an error, or of one chained to it, holds a piece of a secret."""
    texts = [str(error), repr(error), repr(error.args), *traceback.format_exception(error)]
    shown = pieces("".join(texts))
    return any(pieces(secret) & shown for secret in secrets)


def test_a_chained_error_would_have_shown_its_input() -> None:
    """Prove first that what the tests below look for can be found."""
    error = PrivateKeyError(KeyFault.DAMAGED)
    assert not shows(error, canonical())
    error.__context__ = ValueError(canonical())
    assert shows(error, canonical())


def assert_silent(error: PrivateKeyError, *secrets: str) -> None:
    assert (error.what, error.mend) in {(fault.what, fault.mend) for fault in KeyFault}
    assert error.__cause__ is None
    assert error.__context__ is None
    assert not shows(error, *secrets)


def quiet(raw: str | bytes, passphrase: str | None = None) -> private_key.PrivateKey | None:
    try:
        return normalise(raw, passphrase)
    except PrivateKeyError as error:
        assert_silent(error)
        return None


# A shell's continuation is harmless alone; once its newline is lost, it escapes a letter.
harmless = st.sampled_from(
    [
        *(BENDS[name] for name in BENDS if not re.search("base64|assign|bytes|UTF|shell", name)),
        lambda text: f"\u2018{text}\u2019",
        lambda text: f"\n\n{text}\r\n",
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(["pkcs8", "pkcs1", "openssh"]),
    inner=st.lists(harmless, max_size=4),
    layers=st.integers(0, 2),
    outer=st.lists(harmless, max_size=4),
)
def test_no_composition_of_harmless_changes_hides_a_key(
    kind: str,
    inner: list[Callable[[str], str]],
    layers: int,
    outer: list[Callable[[str], str]],
) -> None:
    text = PEMS[kind]()
    for bend in inner:
        text = bend(text)
    for _ in range(layers):
        text = base64.encodebytes(text.encode()).decode()
    for bend in outer:
        text = bend(text)
    assert normalise(text).base64_der == canonical()


anything: st.SearchStrategy[str | bytes] = st.one_of(
    st.text(), st.binary(), st.text("-BEGINRSAKYPVT \n\\n=M0", max_size=200)
)


@settings(max_examples=100, deadline=None)
@given(raw=anything)
def test_arbitrary_input_is_refused_in_silence(raw: str | bytes) -> None:
    assert quiet(raw) is None
    assert quiet(base64.b64encode(raw.encode() if isinstance(raw, str) else raw)) is None


@settings(max_examples=100, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["pem", "base64", "der", "base64 of pem", "pkcs1"]))
def test_a_key_cut_anywhere_is_refused_or_whole(data: st.DataObject, kind: str) -> None:
    """Only what is not part of the key, such as dashes and padding, may go missing."""
    wholes: dict[str, str | bytes] = {
        "pem": pem(),
        "base64": canonical(),
        "der": der(),
        "base64 of pem": b64(pem()),
        "pkcs1": pem(PKCS1),
    }
    whole = wholes[kind]
    start = data.draw(st.just(0) | st.integers(0, len(whole)))
    cut = whole[start : data.draw(st.integers(start, len(whole)))]
    known = quiet(cut)
    assert known is None or known.base64_der == canonical()
    if len(cut) < len(whole) - 16:
        assert known is None


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, 1000), value=st.integers(0, 255))
def test_a_changed_byte_raises_nothing_but_a_named_fault(place: int, value: int) -> None:
    changed = bytearray(der())
    changed[place] = value
    quiet(bytes(changed))


@pytest.mark.parametrize("bend", ["escaped newlines", "base64", "blanks for newlines"])
def test_no_refusal_shows_a_piece_of_key_or_passphrase(bend: str) -> None:
    passphrase = "zYxWvUt-9876543210"
    plain, encrypted = BENDS[bend](pem()), BENDS[bend](pem(PKCS8, ENCRYPTED))
    assert isinstance(plain, str)
    for raw in (plain, plain[:700], plain + plain, plain[:300] + "*" + plain[300:], encrypted):
        with pytest.raises(PrivateKeyError) as caught:
            normalise(raw, passphrase)
        secret_text = "".join(body(pem()).split()) + canonical()
        assert_silent(caught.value, secret_text, b64(pem())[60:], passphrase)


@pytest.mark.parametrize(
    "hostile", ["-" * 65536, "-----BEGIN " * 5900, "\\" * 65536, "--" + " " * 65000]
)
def test_hostile_input_is_refused_at_once(hostile: str) -> None:
    start = datetime.now(UTC)
    assert quiet(hostile) is None
    assert datetime.now(UTC) - start < timedelta(seconds=2)


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(PrivateKeyError(KeyFault.PUTTY)))
    assert error.code is KeyFault.PUTTY
    assert str(error) == f"{KeyFault.PUTTY.what}. {KeyFault.PUTTY.mend}"
