"""Recognises who makes a request: by the session's cookie, or by a bearer token."""

import logging
import re
from typing import Final

from starlette.requests import HTTPConnection

from dagster_apollo.web.attempts import Attempts
from dagster_apollo.web.contract import WebSettings
from dagster_apollo.web.identity import LOCAL_ADMIN, Identity, address_of
from dagster_apollo.web.sessions import SESSION_COOKIE, Sessions
from dagster_apollo.web.tokens import PREFIX, Tokens

_SCHEME: Final = "bearer"
_TOKEN: Final = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
"""What every token looks like: 32 random bytes."""
_log = logging.getLogger("apollo.web")


class TooManyAttemptsError(Exception):
    """An address has presented too many tokens that are not valid."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Authentication:
    """Recognises requests.

    Args:
        settings: the front door's settings.
        sessions: the sessions of browsers; None where nobody has to sign in.
        tokens: the tokens of scripts.
        attempts: counts tokens that are not valid.
    """

    def __init__(
        self, settings: WebSettings, sessions: Sessions | None, tokens: Tokens, attempts: Attempts
    ) -> None:
        self._requires_sign_in = settings.requires_sign_in
        self._sessions = sessions
        self._tokens = tokens
        self._attempts = attempts

    def knows_at_once(self, connection: HTTPConnection) -> bool:
        """Whether `identify` need not ask the database: a request presents nothing."""
        return not {"authorization", "cookie"} & set(connection.headers)

    def identify(self, connection: HTTPConnection) -> Identity | None:
        """Who makes a request; None: nobody who is known.

        Where a request has an Authorization header, nothing else counts: a page of another site
        cannot add one, so such a request needs no proof of where it comes from.

        Raises:
            TooManyAttemptsError: the address has presented too many tokens that are not valid.
        """
        authorization = connection.headers.get("authorization")
        if authorization is not None:
            return self._by_token(authorization, address_of(connection))
        if not self._requires_sign_in:
            return LOCAL_ADMIN
        cookie = connection.cookies.get(SESSION_COOKIE)
        return self._sessions.identify(cookie) if cookie and self._sessions else None

    def _by_token(self, authorization: str, address: str) -> Identity | None:
        """Whose token it is; others' failures from the same address do not count against it."""
        scheme, _, text = authorization.partition(" ")
        token = text.strip()
        if scheme.lower() != _SCHEME or not _TOKEN.fullmatch(token):
            return None  # guesses nothing, and so is not worth counting
        identity = self._tokens.identify(token)
        if identity is not None:
            return identity
        if refusal := self._attempts.exhausted("token", address):
            if refusal.first:
                _log.warning("Too many tokens that are not valid, from %s", address)
            raise TooManyAttemptsError(refusal.seconds)
        self._attempts.failed("token", address)
        _log.warning("A token that is not valid was presented, from %s", address)
        return None
