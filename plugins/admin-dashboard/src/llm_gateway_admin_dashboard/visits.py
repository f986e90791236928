"""Who looks: a visit with its session, and the parts of the site that pages use."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
import llm_gateway_api as gw
import msgspec

from llm_gateway_admin_dashboard.asking import Asking
from llm_gateway_admin_dashboard.http import Form, page, redirect
from llm_gateway_admin_dashboard.sessions import Session
from llm_gateway_admin_dashboard.watch import Gather

if TYPE_CHECKING:
    from llm_gateway_admin_dashboard.routes import Route


@dataclass(frozen=True)
class Parts:
    """What every page may use, made once."""

    templates: jinja2.Environment
    gather: Gather | None
    metrics: gw.Metrics
    health: Callable[[], Mapping[str, Any]]
    plugins: gw.Installed
    redact: gw.Redact


@dataclass(frozen=True)
class Visit:
    """One request of somebody who is logged in."""

    request: gw.EndpointRequest
    session: Session
    token: str
    principal: gw.Principal
    ask: Asking
    parts: Parts
    title: str
    headers: Mapping[str, str]
    menu: Sequence["Route"]
    at: str  # the name of the page in the menu

    @property
    def admin(self) -> bool:
        """Whether this visitor may change anything."""
        return self.principal.role == "admin"

    @property
    def tenant(self) -> str | None:
        return self.principal.tenant

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    @property
    def fragment(self) -> bool:
        """Whether a part of a page that is there already is asked for anew."""
        return "hx-request" in self.request.arrival.headers

    def form(self) -> Form:
        return Form(self.request.body)

    def render(self, template: str, status: int = 200, **context: Any) -> gw.EndpointResponse:
        """The page `template`; where a part is asked for anew, its block ``live`` alone."""
        found = self.parts.templates.get_template(template)
        given = {"visit": self, "now": time(), **context}
        if self.fragment and "live" in found.blocks:
            made = found.new_context(given)
            return page(status, "".join(found.blocks["live"](made)), self.headers)
        return page(status, found.render(given), self.headers)

    def json(self, document: object) -> gw.EndpointResponse:
        headers = {**self.headers, "cache-control": "no-store"}
        return gw.EndpointResponse(200, msgspec.json.encode(document), headers=headers)

    def go(self, path: str) -> gw.EndpointResponse:
        return redirect(path, self.headers)


def segment(text: str) -> str:
    """`text` as one part of a path."""
    return quote(text, safe="")
