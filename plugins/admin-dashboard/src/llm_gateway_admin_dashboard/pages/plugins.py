"""What is installed, and what of it is in use."""

import llm_gateway_api as gw

from llm_gateway_admin_dashboard.routes import Route
from llm_gateway_admin_dashboard.visits import Visit

_ORDER = {"set aside": 0, "active": 1, "disabled": 2}


async def plugins(visit: Visit) -> gw.EndpointResponse:
    """What is broken first, then what is in use, then the rest."""
    found = sorted(
        visit.parts.plugins(),
        key=lambda each: (_ORDER.get(each.state, 3), not each.armed, each.name),
    )
    return visit.render("plugins.html", plugins=found, health=visit.parts.health())


ROUTES = (Route("GET", "plugins", plugins, "Plugins"),)
