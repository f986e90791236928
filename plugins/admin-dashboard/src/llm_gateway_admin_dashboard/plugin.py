"""Declares the pages below ``/dashboard`` and what each worker remembers for them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import llm_gateway_api as gw

if TYPE_CHECKING:
    from llm_gateway_admin_dashboard.settings import DashboardSettings
    from llm_gateway_admin_dashboard.site import Site
    from llm_gateway_admin_dashboard.watch import Watch

PATH = "plugins.admin_dashboard"
NEEDS = (
    "inside",
    "state",
    "local_state",
    "workers",
    "metrics",
    "health",
    "plugins",
    "redact",
    "data_dir",
)


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    from llm_gateway_admin_dashboard.settings import DashboardSettings

    return [gw.SettingsSpec(PATH, DashboardSettings)]


@gw.hookimpl
def llm_gateway_observers() -> list[gw.ObserverSpec]:
    return [gw.ObserverSpec("dashboard", _watch, settings=PATH, needs=("metrics", "state"))]


@gw.hookimpl
def llm_gateway_tenant_data() -> list[gw.TenantDataSpec]:
    return [
        gw.TenantDataSpec(
            "recent requests",
            "how a request was decided: ids, key, models, times, tokens, cost; no content",
            "memory of the workers",
            "until `plugins.admin_dashboard.recent_requests` newer ones came, or the worker ends",
        )
    ]


@gw.hookimpl
def llm_gateway_endpoints() -> list[gw.EndpointSpec]:
    """Without a role: who has no session is shown the way in."""
    doc = {"summary": "Pages for operators, in a browser."}
    return [
        *(
            gw.EndpointSpec("GET", path, None, _site, settings=PATH, needs=NEEDS, doc=doc)
            for path in ("/dashboard", "/dashboard/")
        ),
        gw.EndpointSpec(
            "GET", "/dashboard/{page:path}", None, _site, settings=PATH, needs=NEEDS, doc=doc
        ),
        gw.EndpointSpec(
            "POST", "/dashboard/{page:path}", None, _site, settings=PATH, needs=NEEDS, doc=doc
        ),
    ]


def _watch(
    settings: "DashboardSettings", *, metrics: gw.Metrics, state: gw.StateBackend | None
) -> "Watch":
    from llm_gateway_admin_dashboard.watch import Watch

    return Watch(settings.recent_requests, metrics=metrics, state=state)


def _site(settings: "DashboardSettings", **needs: Any) -> "Site":
    from llm_gateway_admin_dashboard.site import Needs, Site

    return Site(settings, Needs(**needs))


_: Callable[..., gw.EndpointHandler] = _site
