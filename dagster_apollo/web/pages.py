"""Apollo's own pages: signing in and out, the account, the audit log, tokens."""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import anyio
import jinja2
from anyio.to_thread import run_sync
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from dagster_apollo import __version__
from dagster_apollo.web.addresses import local_path
from dagster_apollo.web.attempts import Attempts
from dagster_apollo.web.audit import Audit
from dagster_apollo.web.contract import WebSettings
from dagster_apollo.web.headers import PAGE_POLICY
from dagster_apollo.web.identity import UNKNOWN, Identity, address_of, identity_of
from dagster_apollo.web.oidc import NotAdmittedError, OidcError, Provider
from dagster_apollo.web.passwords import Passwords
from dagster_apollo.web.roles import Role
from dagster_apollo.web.sessions import SESSION_COOKIE, Sessions, SignInState
from dagster_apollo.web.tokens import TokenError, Tokens

_HERE: Final = Path(__file__).parent
_FORM: Final = "application/x-www-form-urlencoded"
_AUDIT_ROWS: Final = 100
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_LONGEST_DAYS: Final = 3650
_AT_ONCE: Final = 2
"""Passwords checked at one time: each takes 64 MiB."""
_WRONG: Final = "The user name or the password is wrong."
_log = logging.getLogger("apollo.web")
_Endpoint = Callable[[Request], Awaitable[Response]]


class Pages:
    """The pages below `/auth/`.

    Args:
        settings: the front door's settings.
        sessions: the sessions of browsers; None where nobody has to sign in.
        tokens: the tokens of scripts.
        attempts: counts attempts to sign in.
        audit: the audit log.
    """

    def __init__(
        self,
        settings: WebSettings,
        sessions: Sessions | None,
        tokens: Tokens,
        attempts: Attempts,
        audit: Audit,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._tokens = tokens
        self._attempts = attempts
        self._audit = audit
        self._passwords = Passwords(settings.users)
        self._provider = Provider(settings) if settings.oidc else None
        self._state = SignInState(settings) if settings.session_secret else None
        self._checks = anyio.CapacityLimiter(_AT_ONCE)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def routes(self) -> list[BaseRoute]:
        """The routes of the pages."""
        return [
            Route("/auth/style.css", _file("style.css")),
            Route("/auth/icon.svg", _file("icon.svg")),
            Route("/auth/account.css", _file("account.css")),
            Route("/auth/sign-in", self.sign_in_page, methods=["GET"]),
            Route("/auth/sign-in", self.sign_in, methods=["POST"]),
            Route("/auth/sign-out", self.sign_out, methods=["POST"]),
            Route("/auth/signed-out", self.signed_out, methods=["GET"]),
            Route("/auth/oidc", self.to_provider, methods=["GET"]),
            Route("/auth/oidc/callback", self.from_provider, methods=["GET"]),
            Route("/auth/account", self.account, methods=["GET"]),
            Route("/auth/audit", self._for_admins(self.audit_log), methods=["GET"]),
            Route("/auth/tokens", self._for_admins(self.tokens), methods=["GET"]),
            Route("/auth/tokens", self._for_admins(self.create_token), methods=["POST"]),
            Route("/auth/tokens/revoke", self._for_admins(self.revoke_token), methods=["POST"]),
        ]

    async def sign_in_page(self, request: Request) -> Response:
        """The page to sign in at; who has signed in already goes on."""
        target = local_path(request.query_params.get("next"))
        if request.scope["user"] is not None:
            return _redirect(target)
        return self._sign_in_page(target)

    async def sign_in(self, request: Request) -> Response:
        """Sign in by user name and password."""
        form = await _form(request)
        target = local_path(_text(form, "next"))
        name, password = _text(form, "name"), _text(form, "password")
        if self._sessions is None or not self._settings.users:
            return _redirect(target)
        address = address_of(request)
        if refusal := self._attempts.sign_in(name, address):
            if refusal.first:
                _log.warning("Too many attempts to sign in, from %s", address)
            error = f"Too many attempts. Try again in {refusal.seconds} seconds."
            page = self._sign_in_page(target, error=error, status=429)
            page.headers["Retry-After"] = str(refusal.seconds)
            return page
        entry = await run_sync(self._passwords.check, name, password, limiter=self._checks)
        if entry is None:
            known = self._passwords.find(name)
            await self._note(request, None, "sign-in", known.name if known else UNKNOWN)
            return self._sign_in_page(target, error=_WRONG, status=401)
        self._attempts.succeeded(name, address)
        return await self._begin(request, Identity(entry.name, entry.role, "password"), target)

    async def to_provider(self, request: Request) -> Response:
        """Begin to sign in at the provider."""
        if self._provider is None or self._state is None:
            return _redirect("/")
        target = local_path(request.query_params.get("next"))
        request.scope["session"] = {"next": target}
        try:
            response = await self._provider.redirect(request)
        except OidcError as error:
            return self._sign_in_page(target, error=str(error), status=502)
        self._set_cookie(
            response, SignInState.COOKIE, self._state.seal(request.session), SignInState.SECONDS
        )
        return response

    async def from_provider(self, request: Request) -> Response:
        """Finish to sign in, with what the provider says."""
        if self._provider is None or self._state is None:
            return _redirect("/")
        remembered = self._state.open(request.cookies.get(SignInState.COOKIE, ""))
        request.scope["session"] = remembered
        target = local_path(remembered.get("next"))
        try:
            identity = await self._provider.identify(request)
        except OidcError as error:
            refused = isinstance(error, NotAdmittedError)
            await self._note(request, None, "sign-in", "provider", reason=type(error).__name__)
            page = self._sign_in_page(target, error=str(error), status=403 if refused else 401)
            _drop_cookie(page, SignInState.COOKIE)
            return page
        response = await self._begin(request, identity, target)
        _drop_cookie(response, SignInState.COOKIE)
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session for good, wherever its cookie was copied to."""
        session = self._sessions and self._sessions.open(request.cookies.get(SESSION_COOKIE, ""))
        if self._sessions and session:
            await run_sync(self._sessions.revoke, session)
            await self._note(request, identity_of(request), "sign-out")
        response = _redirect("/auth/signed-out")
        _drop_cookie(response, SESSION_COOKIE)
        return response

    async def signed_out(self, _request: Request) -> Response:
        """The page after signing out."""
        return self._render("signed_out.html", identity=None, title="Signed out")

    async def account(self, request: Request) -> Response:
        """Who is signed in, what they may do, and the way out."""
        return self._render(
            "account.html",
            identity=identity_of(request),
            title="Account",
            hours=int(self._settings.session_lifetime.total_seconds() // 3600),
        )

    async def audit_log(self, request: Request) -> Response:
        """The audit log, the newest entries first."""
        before = request.query_params.get("before", "")
        records = await run_sync(
            self._audit.newest, _AUDIT_ROWS + 1, int(before) if _NUMBER.fullmatch(before) else None
        )
        more = records[_AUDIT_ROWS - 1].id if len(records) > _AUDIT_ROWS else None
        return self._render(
            "audit.html",
            identity=identity_of(request),
            title="Audit log",
            records=records[:_AUDIT_ROWS],
            more=more,
        )

    async def tokens(self, request: Request) -> Response:
        """The tokens, and a form that makes one."""
        return await self._token_page(request)

    async def create_token(self, request: Request) -> Response:
        """Make a token, and show it this once."""
        form = await _form(request)
        name, days = _text(form, "name").strip(), _text(form, "days").strip()
        try:
            role = Role.parse(_text(form, "role"))
            if days and not (_NUMBER.fullmatch(days) and 0 < int(days) <= _LONGEST_DAYS):
                raise TokenError(f"The days must be a number from 1 to {_LONGEST_DAYS}.")
            token = await run_sync(
                lambda: self._tokens.create(
                    name,
                    role,
                    created_by=identity_of(request).name,
                    days=int(days) if days else None,
                )
            )
        except (TokenError, ValueError) as error:
            return await self._token_page(request, error=str(error), status=400)
        await self._note(request, identity_of(request), "create token", name, role=str(role))
        return await self._token_page(request, made=token, made_name=name)

    async def revoke_token(self, request: Request) -> Response:
        """Make a token worthless."""
        name = _text(await _form(request), "name")
        try:
            await run_sync(self._tokens.revoke, name)
        except TokenError as error:
            return await self._token_page(request, error=str(error), status=400)
        await self._note(request, identity_of(request), "revoke token", name)
        return _redirect("/auth/tokens")

    async def _begin(self, request: Request, identity: Identity, target: str) -> Response:
        """Begin a session, and go where somebody wanted to go."""
        if self._sessions is None:
            raise RuntimeError("there are no sessions")
        await self._note(request, identity, "sign-in")
        cookie, _ = self._sessions.start(identity.name, identity.role, identity.method)
        response = _redirect(target)
        seconds = int(self._settings.session_lifetime.total_seconds())
        self._set_cookie(response, SESSION_COOKIE, cookie, seconds)
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

    def _for_admins(self, endpoint: _Endpoint) -> _Endpoint:
        """Keep a page to admins who sit in front of it: a token must not make tokens."""

        async def checked(request: Request) -> Response:
            identity = identity_of(request)
            if identity.role is Role.ADMIN and identity.method != "token":
                return await endpoint(request)
            action = f"{request.method} {request.url.path}"
            await run_sync(
                lambda: self._audit.record(
                    action, by=identity, allowed=False, remote=address_of(request)
                )
            )
            return self._render(
                "refused.html", identity=identity, title="For admins alone", status=403
            )

        return checked

    async def _token_page(
        self,
        request: Request,
        *,
        made: str = "",
        made_name: str = "",
        error: str = "",
        status: int = 200,
    ) -> Response:
        return self._render(
            "tokens.html",
            identity=identity_of(request),
            title="Tokens",
            records=await run_sync(self._tokens.list),
            roles=[str(role) for role in Role],
            made=made,
            made_name=made_name,
            error=error,
            status=status,
        )

    def _sign_in_page(self, target: str, *, error: str = "", status: int = 200) -> Response:
        return self._render(
            "sign_in.html",
            identity=None,
            title="Sign in",
            next=target,
            error=error,
            by_password=bool(self._settings.users),
            by_provider=self._provider is not None,
            status=status,
        )

    def _render(
        self, template: str, *, status: int = 200, identity: Identity | None, **values: object
    ) -> Response:
        html = self._templates.get_template(template).render(
            identity=identity, version=__version__, **values
        )
        headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-store"}
        return HTMLResponse(html, status, headers)

    def _set_cookie(self, response: Response, name: str, value: str, seconds: int) -> None:
        response.set_cookie(
            name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax"
        )


def _drop_cookie(response: Response, name: str) -> None:
    response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="lax")


def _redirect(target: str) -> Response:
    return RedirectResponse(target, 303, {"Cache-Control": "no-store"})


def _file(name: str) -> _Endpoint:
    async def endpoint(_request: Request) -> Response:
        return FileResponse(_HERE / "static" / name, headers={"Cache-Control": "max-age=3600"})

    return endpoint


async def _form(request: Request) -> Mapping[str, object]:
    """The fields of a form; none where the body is not a form of text."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return {}
    form: FormData = await request.form(max_files=0, max_fields=20)
    return dict(form)


def _text(form: Mapping[str, object], name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""
