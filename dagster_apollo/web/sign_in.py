"""The pages at which people sign in and out."""

import logging
from typing import Final

import anyio
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dagster_apollo.web.addresses import local_path
from dagster_apollo.web.attempts import Attempts, Refusal
from dagster_apollo.web.audit import Audit
from dagster_apollo.web.contract import WebSettings
from dagster_apollo.web.identity import UNKNOWN, Identity, address_of, identity_of
from dagster_apollo.web.oidc import NotAdmittedError, OidcError, Provider
from dagster_apollo.web.passwords import Passwords, UserEntry
from dagster_apollo.web.rendering import read_form, redirect, render, static
from dagster_apollo.web.sessions import SESSION_COOKIE, Sessions, SignInState

_AT_ONCE: Final = 2
"""Passwords checked at one time: each takes 64 MiB."""
_WRONG: Final = "The user name or the password is wrong."
_log = logging.getLogger("apollo.web")


class SignInPages:
    """Signing in and out.

    Args:
        settings: the front door's settings.
        sessions: the sessions of browsers; None where nobody has to sign in.
        attempts: counts attempts to sign in.
        audit: the audit log.
    """

    def __init__(
        self, settings: WebSettings, sessions: Sessions | None, attempts: Attempts, audit: Audit
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._attempts = attempts
        self._audit = audit
        self._passwords = Passwords(settings.users)
        self._provider = Provider(settings) if settings.oidc else None
        self._state = SignInState(settings) if settings.session_secret else None
        self._checks = anyio.CapacityLimiter(_AT_ONCE)

    def routes(self) -> list[BaseRoute]:
        """The routes of the pages."""
        return [
            Route("/auth/style.css", static("style.css")),
            Route("/auth/icon.svg", static("icon.svg")),
            Route("/auth/sign-in", self.sign_in_page, methods=["GET"]),
            Route("/auth/sign-in", self.sign_in, methods=["POST"]),
            Route("/auth/sign-out", self.sign_out, methods=["POST"]),
            Route("/auth/signed-out", self.signed_out, methods=["GET"]),
            Route("/auth/oidc", self.to_provider, methods=["GET"]),
            Route("/auth/oidc/callback", self.from_provider, methods=["GET"]),
        ]

    async def sign_in_page(self, request: Request) -> Response:
        """The page to sign in at; who has signed in already goes on."""
        target = local_path(request.query_params.get("next"))
        if request.scope["user"] is not None:
            return redirect(target)
        return self._sign_in_page(target)

    async def sign_in(self, request: Request) -> Response:
        """Sign in by user name and password."""
        form = await read_form(request)
        target = local_path(form.get("next", ""))
        name, password = form.get("name", ""), form.get("password", "")
        if self._sessions is None or not self._settings.users:
            return redirect(target)
        address = address_of(request)
        found = await run_sync(self._try, name, password, address, limiter=self._checks)
        if isinstance(found, Refusal):
            return self._too_many(found, target, address)
        if found is None:
            known = self._passwords.find(name)
            await self._note(request, None, "sign-in", known.name if known else UNKNOWN)
            return self._sign_in_page(target, error=_WRONG, status=401)
        return await self._begin(request, Identity(found.name, found.grant, "password"), target)

    def _try(self, name: str, password: str, address: str) -> UserEntry | Refusal | None:
        """Check a password, if there were not too many wrong ones; None: it is wrong."""
        if refusal := self._attempts.sign_in_exhausted(name, address):
            return refusal
        entry = self._passwords.check(name, password)
        if entry is None:
            self._attempts.sign_in_failed(name, address)
        else:
            self._attempts.sign_in_succeeded(name, address)
        return entry

    async def to_provider(self, request: Request) -> Response:
        """Begin to sign in at the provider."""
        if self._provider is None or self._state is None:
            return redirect("/")
        target = local_path(request.query_params.get("next"))
        request.scope["session"] = {"next": target}
        try:
            response = await self._provider.redirect(request)
        except OidcError as error:
            return self._sign_in_page(target, error=str(error), status=502)
        _set_cookie(
            response, SignInState.COOKIE, self._state.seal(request.session), SignInState.SECONDS
        )
        return response

    async def from_provider(self, request: Request) -> Response:
        """Finish to sign in, with what the provider says."""
        if self._provider is None or self._state is None:
            return redirect("/")
        address = address_of(request)
        if refusal := self._attempts.exhausted("provider", address):
            return self._too_many(refusal, "/", address)
        remembered = self._state.open(request.cookies.get(SignInState.COOKIE, ""))
        request.scope["session"] = remembered
        target = local_path(remembered.get("next"))
        try:
            identity, subject = await self._provider.identify(request)
        except OidcError as error:
            self._attempts.failed("provider", address)
            refused = isinstance(error, NotAdmittedError)
            await self._note(request, None, "sign-in", "provider", reason=type(error).__name__)
            page = self._sign_in_page(target, error=str(error), status=403 if refused else 401)
            _drop_cookie(page, SignInState.COOKIE)
            return page
        response = await self._begin(request, identity, target, sub=subject)
        _drop_cookie(response, SignInState.COOKIE)
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session for good, wherever its cookie was copied to."""
        session = self._sessions and self._sessions.open(request.cookies.get(SESSION_COOKIE, ""))
        if self._sessions and session:
            await run_sync(self._sessions.revoke, session)
            await self._note(request, identity_of(request), "sign-out")
        response = redirect("/auth/signed-out")
        response.headers["Clear-Site-Data"] = '"cache", "storage"'
        _drop_cookie(response, SESSION_COOKIE)
        return response

    async def signed_out(self, _request: Request) -> Response:
        """The page after signing out."""
        return render("signed_out.html", identity=None, title="Signed out")

    async def _begin(
        self, request: Request, identity: Identity, target: str, **detail: str
    ) -> Response:
        """Begin a session in place of the browser's last, and go where somebody wanted to go."""
        if self._sessions is None:
            raise RuntimeError("there are no sessions")
        await self._note(request, identity, "sign-in", **detail)
        if last := self._sessions.open(request.cookies.get(SESSION_COOKIE, "")):
            await run_sync(self._sessions.revoke, last)
        cookie, _ = self._sessions.start(identity.name, identity.grant, identity.method)
        response = redirect(target)
        seconds = int(self._settings.session_lifetime.total_seconds())
        _set_cookie(response, SESSION_COOKIE, cookie, seconds)
        return response

    async def _note(
        self,
        request: Request,
        by: Identity | None,
        action: str,
        target: str | None = None,
        **detail: str,
    ) -> None:
        """Record what somebody did; by None: what was refused to somebody unknown."""
        await run_sync(
            lambda: self._audit.record(
                action,
                by=by,
                allowed=by is not None,
                remote=address_of(request),
                target=target,
                detail=detail or None,
            )
        )

    def _too_many(self, refusal: Refusal, target: str, address: str) -> Response:
        if refusal.first:
            _log.warning("Too many attempts to sign in, from %s", address)
        error = f"Too many attempts. Try again in {refusal.seconds} seconds."
        page = self._sign_in_page(target, error=error, status=429)
        page.headers["Retry-After"] = str(refusal.seconds)
        return page

    def _sign_in_page(self, target: str, *, error: str = "", status: int = 200) -> Response:
        return render(
            "sign_in.html",
            identity=None,
            title="Sign in",
            next=target,
            error=error,
            by_password=bool(self._settings.users),
            by_provider=self._provider is not None,
            status=status,
        )


def _set_cookie(response: Response, name: str, value: str, seconds: int) -> None:
    response.set_cookie(
        name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax"
    )


def _drop_cookie(response: Response, name: str) -> None:
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")
