"""Declares the two filters of addresses: who calls, and whether it may."""

from functools import lru_cache

import llm_gateway_api as gw
from msgspec import structs

from llm_gateway_filter_ip.forwarded import UnreadableHopError, caller
from llm_gateway_filter_ip.networks import Address, Networks, address, network
from llm_gateway_filter_ip.settings import ClientAddressSettings, IPFilterSettings

KNOWN = 4096  # addresses whose verdict is remembered
SHORT = 128  # characters of the headers whose reading is remembered


class ClientAddressFilter:
    """Makes `Arrival.peer` the caller's own address, for all that comes after."""

    def __init__(self, settings: ClientAddressSettings) -> None:
        self._trusted = Networks(map(network, settings.trusted_proxies))
        self._header = settings.header
        self._standard = settings.header == "forwarded"
        self._known = lru_cache(KNOWN)(self._resolved)

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        assert isinstance(seen, gw.Arrival)
        values = gw.every(seen.headers, self._header)
        try:
            short = sum(map(len, values)) <= SHORT
            found = (self._known if short else self._resolved)(seen.peer, values)
        except UnreadableHopError as error:
            return gw.Refusal(
                400,
                "invalid_forwarding_header",
                f"The header {self._header} does not say who calls: {error}.",
                self._header,
            )
        except ValueError:
            return seen  # no address at all (a socket in the file system)
        return seen if found == seen.peer else structs.replace(seen, peer=found)

    def _resolved(self, peer: str, values: tuple[str, ...]) -> str:
        return str(caller(address(peer), values, self._standard, self._trusted))


class IPFilter:
    """Refuses by address. What has none is refused where there is a whitelist."""

    def __init__(self, settings: IPFilterSettings, metrics: gw.Metrics) -> None:
        self._allowed = Networks(map(network, settings.whitelist))
        self._denied = Networks(map(network, settings.blacklist))
        self._open = frozenset(settings.exempt_paths)
        self._refuses = lru_cache(KNOWN)(self._judge)
        self._refused = metrics.counter(
            "gateway_ip_filter_refused_total", "requests refused by address", ("list",)
        ).value

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        assert isinstance(seen, gw.Arrival)
        by = self._refuses(seen.peer)
        if by is None or seen.path in self._open:
            return seen
        self._refused(by).inc()
        return gw.Refusal(403, "address_not_allowed", "Requests from this address are not taken.")

    def _judge(self, peer: str) -> str | None:
        """The list that refuses `peer`."""
        try:
            found: Address = address(peer)
        except ValueError:
            return "whitelist" if self._allowed else None
        if found in self._denied:
            return "blacklist"
        return "whitelist" if self._allowed and found not in self._allowed else None


_: type[gw.SecurityFilter] = ClientAddressFilter
__: type[gw.SecurityFilter] = IPFilter


def resolver(settings: ClientAddressSettings) -> ClientAddressFilter | None:
    """None without proxies: the socket's address is the caller's."""
    return ClientAddressFilter(settings) if settings.trusted_proxies else None


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [
        gw.SettingsSpec("security.ip_filter", IPFilterSettings),
        gw.SettingsSpec("security.client_address", ClientAddressSettings),
    ]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    return [
        gw.SecurityFilterSpec(
            "client_address",
            "connection",
            resolver,
            settings="security.client_address",
            before=("ip",),
        ),
        gw.SecurityFilterSpec(
            "ip", "connection", IPFilter, settings="security.ip_filter", needs=("metrics",)
        ),
    ]
