"""A browser's session: one signed cookie, which ends by time, by sign-out, or with its user."""

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy
from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from dagster_apollo.instance.database import REVOKED_SESSION
from dagster_apollo.web.contract import WebSettings
from dagster_apollo.web.grants import Grant
from dagster_apollo.web.identity import Identity, Method

# __Host-: only this host, only over TLS (or to localhost), not from a subdomain
SESSION_COOKIE: Final = "__Host-apollo_session"
_KNOWN_VALID_SECONDS: Final = 5.0
_KNOWN_AT_MOST: Final = 10_000
Clock = Callable[[], float]


@dataclass(frozen=True)
class Session:
    """What a session's cookie says.

    Args:
        id: the session; random.
        name: the user.
        method: how the user signed in.
        grant: what the user may do, as a text.
        binding: what the session stands and falls with (see `Sessions`).
        expires: when it ends, in seconds since 1970.
    """

    id: str
    name: str
    method: Method
    grant: str
    binding: str
    expires: int


class Sessions:
    """Seals, opens and ends sessions.

    A session is bound to what lets its user in: the user's entry, or the provider's settings.
    When that changes (a new password, another role, the user removed), the session is over.
    """

    def __init__(
        self, settings: WebSettings, engine: sqlalchemy.Engine, clock: Clock = time.time
    ) -> None:
        if settings.session_secret is None:
            raise ValueError("sessions need APOLLO_SESSION_SECRET")
        self._settings = settings
        self._secret = settings.session_secret.get_secret_value().encode()
        self._serializer = _serializer(self._secret, "apollo session")
        self._engine = engine
        self._clock = clock
        self._known_valid: dict[str, float] = {}
        self._revocations = 0
        self._lock = threading.Lock()

    def start(self, name: str, grant: Grant, method: Method) -> tuple[str, Session]:
        """Begin a session; returns its cookie's value, too."""
        session = Session(
            id=secrets.token_urlsafe(18),
            name=name,
            method=method,
            grant=str(grant),
            binding=self._binding(name, method) or "",
            expires=int(self._clock() + self._settings.session_lifetime.total_seconds()),
        )
        return self._serializer.dumps(asdict(session)), session

    def open(self, cookie: str) -> Session | None:
        """The session of a cookie; None where it is forged, over, or bound to what is no more."""
        try:
            session = Session(**self._serializer.loads(cookie))
        except (BadSignature, TypeError):
            return None
        if session.expires <= self._clock():
            return None
        binding = self._binding(session.name, session.method)
        if binding is None or not hmac.compare_digest(binding, session.binding):
            return None
        return session

    def identify(self, cookie: str) -> Identity | None:
        """Whose session a cookie is; asks the database whether they have signed out."""
        session = self.open(cookie)
        if session is None or self._is_revoked(session):
            return None
        return Identity(session.name, Grant.parse(session.grant), session.method, session.id)

    def revoke(self, session: Session) -> None:
        """End a session before its time; what has expired by itself is forgotten."""
        expires = datetime.fromtimestamp(session.expires, UTC)
        with self._engine.begin() as connection:
            connection.execute(
                insert(REVOKED_SESSION)
                .values(session_id=session.id, expires_at=expires)
                .on_conflict_do_nothing()
            )
            connection.execute(
                delete(REVOKED_SESSION).where(REVOKED_SESSION.c.expires_at < func.now())
            )
        with self._lock:
            self._revocations += 1
            self._known_valid.pop(session.id, None)

    def _is_revoked(self, session: Session) -> bool:
        """Asked once in some seconds, since a page of Dagster's makes dozens of requests."""
        now, revocations = self._clock(), self._revocations
        if now < self._known_valid.get(session.id, 0):
            return False
        with self._engine.connect() as connection:
            found = connection.execute(
                select(REVOKED_SESSION.c.session_id).where(
                    REVOKED_SESSION.c.session_id == session.id
                )
            ).first()
        if found is not None:
            return True
        with self._lock:
            if revocations == self._revocations:  # else it may have been revoked since it was asked
                if len(self._known_valid) >= _KNOWN_AT_MOST:
                    self._known_valid.clear()
                self._known_valid[session.id] = now + _KNOWN_VALID_SECONDS
        return False

    def _binding(self, name: str, method: Method) -> str | None:
        """A fingerprint of what lets a user in; None where nothing does any more."""
        parts: tuple[str, ...]
        if method == "password" and (entry := self._settings.users.get(name)):
            parts = (entry.name, str(entry.grant), entry.credential)
        elif method == "oidc" and (oidc := self._settings.oidc):
            roles = sorted(f"{group}={grant}" for group, grant in oidc.grants.items())
            domains = sorted(oidc.domains or ())
            groups = (oidc.groups_claim, *roles, str(oidc.default_grant))
            parts = (oidc.issuer, oidc.client_id, *domains, *groups)
        else:
            return None
        text = "\0".join((method, *parts)).encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:32]


class SignInState:
    """What is remembered of a sign-in at a provider while the browser is there."""

    COOKIE: Final = "__Host-apollo_sign_in"
    SECONDS: Final = 600

    def __init__(self, settings: WebSettings, clock: Clock = time.time) -> None:
        if settings.session_secret is None:
            raise ValueError("sessions need APOLLO_SESSION_SECRET")
        secret = settings.session_secret.get_secret_value().encode()
        self._serializer = _serializer(secret, "apollo sign-in")
        self._clock = clock

    def seal(self, data: dict[str, Any]) -> str:
        """The cookie's value."""
        return self._serializer.dumps({"data": data, "expires": self._clock() + self.SECONDS})

    def open(self, cookie: str) -> dict[str, Any]:
        """What was sealed; nothing where it is forged or too old."""
        try:
            content = self._serializer.loads(cookie)
            fresh = content["expires"] > self._clock()
        except (BadSignature, KeyError, TypeError):
            return {}
        return dict(content["data"]) if fresh else {}


def _serializer(secret: bytes, purpose: str) -> URLSafeSerializer:
    return URLSafeSerializer(
        secret,
        salt=purpose,
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
