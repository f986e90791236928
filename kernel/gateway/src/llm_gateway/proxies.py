"""Which proxy a call takes: the provider's own ``proxy``, or the environment's.

The environment is read once, when a configuration is bound. Loopback never goes through a
proxy of the environment, since that proxy's loopback is another machine's.
"""

import ipaddress
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from llm_gateway_api import ConfigurationError, UpstreamRequest

from llm_gateway.transport import Exchange, Told, Transport

DIRECT = ("", "none", "direct")


class Proxied:
    """Meets `Transport`: sends each origin's calls directly or through its proxy."""

    def __init__(
        self,
        direct: Transport,
        through: Callable[[str], Transport],
        proxy_of: Callable[[str], str | None],
    ) -> None:
        self._direct = direct
        self._through = through
        self._proxy_of = proxy_of
        self._by_proxy: dict[str, Transport] = {}
        self._by_origin: dict[str, Transport] = {}

    async def send(
        self, request: UpstreamRequest, deadline: float, sending: Told | None = None
    ) -> Exchange:
        scheme, _, rest = request.url.partition("://")
        origin = f"{scheme}://{rest.partition('/')[0]}"
        transport = self._by_origin.get(origin)
        if transport is None:
            transport = self._by_origin[origin] = self._chosen(origin)
        return await transport.send(request, deadline, sending)

    def _chosen(self, origin: str) -> Transport:
        proxy = self._proxy_of(origin)
        if proxy is None:
            return self._direct
        if proxy not in self._by_proxy:
            self._by_proxy[proxy] = self._through(proxy)
        return self._by_proxy[proxy]

    def close(self) -> None:
        self._direct.close()
        for each in self._by_proxy.values():
            each.close()


def configured(name: str, proxy: str | None) -> str | Mapping[str, str] | None:
    """The one proxy of a provider, the environment's by scheme, or None for neither.

    Raises `ConfigurationError` for what is no address of a proxy.
    """
    if proxy is not None:
        return (
            None if proxy.strip().lower() in DIRECT else _checked(f"providers.{name}.proxy", proxy)
        )
    found = getproxies_environment()
    named = {scheme: found[scheme] for scheme in ("http", "https") if found.get(scheme)}
    for scheme, each in named.items():
        _checked(f"{scheme.upper()}_PROXY", each)
    return {**named, "no": found.get("no", "")} if named else None


def proxy_for(origin: str, proxies: str | Mapping[str, str]) -> str | None:
    """The proxy for `origin` (``https://host:port``), or None."""
    if isinstance(proxies, str):
        return proxies
    parts = urlsplit(origin)
    host = parts.hostname or ""
    if loopback(host) or proxy_bypass(parts.netloc, dict(proxies)):
        return None
    return proxies.get(parts.scheme)


def loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _checked(where: str, proxy: str) -> str:
    try:
        parts = urlsplit(proxy)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise ConfigurationError(
            f"{where} is no proxy that can be used; write http://host:port or "
            "https://user:password@host:port, or none."
        )
    return proxy
