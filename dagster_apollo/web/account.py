"""The pages of who has signed in: the account; for admins, the audit log and the tokens."""

import re
from datetime import timedelta
from typing import Final

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from dagster_apollo.web.audit import Audit
from dagster_apollo.web.grants import Grant
from dagster_apollo.web.identity import address_of, identity_of
from dagster_apollo.web.rendering import Endpoint, read_form, redirect, render, static
from dagster_apollo.web.roles import Role
from dagster_apollo.web.tokens import TokenError, Tokens

_AUDIT_ROWS: Final = 100
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_LONGEST_DAYS: Final = 3650


class AccountPages:
    """The account, the audit log, the tokens.

    Args:
        session_lifetime: how long a session lasts.
        tokens: the tokens of scripts.
        audit: the audit log.
    """

    def __init__(self, session_lifetime: timedelta, tokens: Tokens, audit: Audit) -> None:
        self._hours = int(session_lifetime.total_seconds() // 3600)
        self._tokens = tokens
        self._audit = audit

    def routes(self) -> list[BaseRoute]:
        """The routes of the pages."""
        return [
            Route("/auth/account.css", static("account.css")),
            Route("/auth/account", self.account, methods=["GET"]),
            Route("/auth/audit", self._for_admins(self.audit_log), methods=["GET"]),
            Route("/auth/tokens", self._for_admins(self.tokens), methods=["GET"]),
            Route("/auth/tokens", self._for_admins(self.create_token), methods=["POST"]),
            Route("/auth/tokens/revoke", self._for_admins(self.revoke_token), methods=["POST"]),
        ]

    async def account(self, request: Request) -> Response:
        """Who is signed in, what they may do, and the way out."""
        return render(
            "account.html",
            identity=identity_of(request),
            title="Account",
            hours=self._hours,
        )

    async def audit_log(self, request: Request) -> Response:
        """The audit log, the newest entries first."""
        before = request.query_params.get("before", "")
        records = await run_sync(
            self._audit.newest, _AUDIT_ROWS + 1, int(before) if _NUMBER.fullmatch(before) else None
        )
        more = records[_AUDIT_ROWS - 1].id if len(records) > _AUDIT_ROWS else None
        return render(
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
        form = await read_form(request)
        name, days = form.get("name", "").strip(), form.get("days", "").strip()
        try:
            grant = Grant.of(form.get("role", ""), form.get("tenants", "").strip() or None)
            if days and not (_NUMBER.fullmatch(days) and 0 < int(days) <= _LONGEST_DAYS):
                raise TokenError(f"The days must be a number from 1 to {_LONGEST_DAYS}.")
            token = await run_sync(
                self._create_token, request, name, grant, int(days) if days else None
            )
        except (TokenError, ValueError) as error:
            return await self._token_page(request, error=str(error), status=400)
        return await self._token_page(request, made=token, made_name=name)

    def _create_token(self, request: Request, name: str, grant: Grant, days: int | None) -> str:
        by = identity_of(request)
        detail = {"role": str(grant)} | ({"days": days} if days else {})
        with self._audit.recorded(
            "create token", by=by, remote=address_of(request), target=name, detail=detail
        ):
            return self._tokens.create(name, grant, created_by=by.name, days=days)

    async def revoke_token(self, request: Request) -> Response:
        """Make a token worthless."""
        name = (await read_form(request)).get("name", "")
        try:
            await run_sync(self._revoke_token, request, name)
        except TokenError as error:
            return await self._token_page(request, error=str(error), status=400)
        return redirect("/auth/tokens")

    def _revoke_token(self, request: Request, name: str) -> None:
        by, remote = identity_of(request), address_of(request)
        with self._audit.recorded("revoke token", by=by, remote=remote, target=name):
            self._tokens.revoke(name)

    def _for_admins(self, endpoint: Endpoint) -> Endpoint:
        """Keep a page to admins who sit in front of it: a token must not make tokens."""

        async def checked(request: Request) -> Response:
            identity = identity_of(request)
            if identity.role is Role.ADMIN and identity.method != "token":
                return await endpoint(request)
            action = f"{request.method} {request.url.path}"
            remote = address_of(request)
            await run_sync(
                lambda: self._audit.record(action, by=identity, allowed=False, remote=remote)
            )
            return render("refused.html", identity=identity, title="For admins alone", status=403)

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
        return render(
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
