"""All pages, in the order of the menu."""

from llm_gateway_admin_dashboard.pages import (
    cache,
    keys,
    limits,
    overview,
    plugins,
    providers,
    requests,
    tenants,
    usage,
)
from llm_gateway_admin_dashboard.routes import Route

ROUTES: tuple[Route, ...] = (
    *overview.ROUTES,
    *usage.ROUTES,
    *requests.ROUTES,
    *providers.ROUTES,
    *limits.ROUTES,
    *cache.ROUTES,
    *keys.ROUTES,
    *tenants.ROUTES,
    *plugins.ROUTES,
)
# Those that have a name without a further part.
MENU = tuple(each for each in ROUTES if each.method == "GET" and each.title)
