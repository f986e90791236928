"""Everything below ``/dashboard``: who may see it, and which page it is."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llm_gateway_api as gw
import msgspec

from llm_gateway_admin_dashboard.asking import Asking
from llm_gateway_admin_dashboard.assets import Assets
from llm_gateway_admin_dashboard.http import ROOT, page
from llm_gateway_admin_dashboard.login import Door
from llm_gateway_admin_dashboard.pages import MENU, ROUTES
from llm_gateway_admin_dashboard.routes import found
from llm_gateway_admin_dashboard.sessions import Sealer, Session, secret_of
from llm_gateway_admin_dashboard.settings import DashboardSettings
from llm_gateway_admin_dashboard.views import environment
from llm_gateway_admin_dashboard.visits import Parts, Visit
from llm_gateway_admin_dashboard.watch import Gather

HOME = "overview"


@dataclass(frozen=True)
class Needs:
    """What the kernel offers to the site."""

    inside: gw.Inside
    state: gw.StateBackend | None
    local_state: gw.StateBackend | None
    workers: int
    metrics: gw.Metrics
    health: Callable[[], Mapping[str, Any]]
    plugins: gw.Installed
    redact: gw.Redact
    data_dir: Path


class Site:
    """Answers every route of the dashboard. Opens its secret when the gateway starts."""

    def __init__(self, settings: DashboardSettings, needs: Needs) -> None:
        self._settings = settings
        self._needs = needs
        self._assets = Assets()
        self._gather = Gather(needs.state, needs.workers) if needs.state is not None else None
        templates = environment(self._assets.paths)
        self._parts = Parts(
            templates, self._gather, needs.metrics, needs.health, needs.plugins, needs.redact
        )
        self._door: Door

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        secret = self._settings.session_secret
        given = secret.get_secret_value() if secret is not None else None
        sealer = Sealer(secret_of(given, self._needs.data_dir))
        states = (self._needs.state, self._needs.local_state)
        self._door = Door(self._settings, sealer, self._needs.inside, states, self._parts)
        if self._gather is not None:
            self._gather.listen()
        yield

    async def __call__(self, request: gw.EndpointRequest) -> gw.EndpointResponse:
        path = request.arrival.path.removeprefix(ROOT).strip("/") or HOME
        if path.startswith("static/"):
            return self._assets.answer(path.removeprefix("static/"))
        try:
            return await self._answer(request, path)
        except gw.GatewayError as error:
            return self._failed(error)

    async def _answer(self, request: gw.EndpointRequest, path: str) -> gw.EndpointResponse:
        posted = request.arrival.method == "POST"
        if path == "login":
            return await (self._door.enter(request) if posted else self._door.show(request))
        session = await self._door.session(request)
        if session is None:
            return self._door.turned_away(request, path)
        if posted:
            self._door.check(request, session)
        if path == "logout":
            if not posted:
                raise gw.MethodNotAllowedError("Use the button to log out.")
            return await self._door.leave(request, session)
        return await self._page(request, session, path)

    async def _page(
        self, request: gw.EndpointRequest, session: Session, path: str
    ) -> gw.EndpointResponse:
        arrival = self._door.carrying(request.arrival, session)
        try:
            principal = (await self._needs.inside.known(arrival)).principal
            self._door.admits(principal)
        except gw.GatewayError as error:
            if error.status >= 500:
                raise
            return self._door.turned_away(request, path, ended=True)
        route, match = found(ROUTES, request.arrival.method, path)
        if principal.tenant is not None and not route.tenants:
            raise gw.PermissionDeniedError(
                "This page shows the whole gateway; your key belongs to a tenant."
            )
        if request.arrival.method == "POST" and principal.role != "admin":
            raise gw.PermissionDeniedError("Changes need a key with the role admin.")
        seen = msgspec.structs.replace(request.arrival, principal=principal)
        visit = Visit(
            gw.EndpointRequest(seen, match, request.query, request.body),
            session,
            self._door.sealer.token(session),
            principal,
            Asking(self._needs.inside, arrival),
            self._parts,
            route.title,
            self._door.renewed(request, session),
            [each for each in MENU if principal.tenant is None or each.tenants],
            path.partition("/")[0],
        )
        return await route.handler(visit)

    def _failed(self, error: gw.GatewayError) -> gw.EndpointResponse:
        text = self._parts.templates.get_template("error.html").render(
            status=error.status, message=str(error), visit=None
        )
        return page(error.status, text)
