"""``security.ip_filter`` and ``security.client_address``"""

from typing import Annotated, Literal

from llm_gateway_api import Section
from pydantic import AfterValidator, Field

from llm_gateway_filter_ip.networks import network


def _checked(value: str) -> str:
    network(value)
    return value


Range = Annotated[str, AfterValidator(_checked)]


class IPFilterSettings(Section):
    """Who may call. The blacklist wins; an empty whitelist lets everybody in."""

    enabled: bool = Field(default=False, description="true refuses by address")
    whitelist: tuple[Range, ...] = Field(
        default=(), description="addresses and CIDR ranges that may call; empty: all"
    )
    blacklist: tuple[Range, ...] = Field(
        default=(),
        description="addresses and CIDR ranges that may not, whatever the whitelist says",
    )
    exempt_paths: tuple[str, ...] = Field(
        default=("/health/live", "/health/ready"),
        description="paths that everybody may ask (an orchestrator's probes)",
    )


class ClientAddressSettings(Section):
    """Whose word is taken for the caller's address."""

    trusted_proxies: tuple[Range, ...] = Field(
        default=(), description="addresses and CIDR ranges of the proxies in front; empty: none"
    )
    header: Literal["x-forwarded-for", "forwarded"] = Field(
        default="x-forwarded-for",
        description="the one header that these proxies write; the other is not read",
    )
