"""Who may call by address, and whose word is taken for it."""

from collections.abc import Sequence

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_filter_ip import plugin
from llm_gateway_filter_ip.networks import Networks, address, network
from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import ValidationError

PROXY, FAR_PROXY, CALLER, LIAR = "10.0.0.1", "10.0.0.2", "203.0.113.7", "198.51.100.9"


def arrival(peer: str, *headers: tuple[str, str], path: str = "/v1/chat/completions") -> gw.Arrival:
    sent = CIMultiDictProxy(CIMultiDict(headers))
    return gw.Arrival("r", "POST", path, "", sent, peer, 0.0)


async def found(peer: str, *values: str, header: str = "x-forwarded-for") -> str | gw.Refusal:
    """The caller's address behind proxies in 10.0.0.0/8 and fd00::/8, or the refusal."""
    settings = plugin.ClientAddressSettings.model_validate(
        {"trusted_proxies": ["10.0.0.0/8", "fd00::/8"], "header": header}
    )
    resolver = plugin.resolver(settings)
    assert resolver is not None
    seen = await resolver.inspect(arrival(peer, *((header.title(), each) for each in values)))
    return (
        seen.peer if isinstance(seen, gw.Arrival) else seen if isinstance(seen, gw.Refusal) else ""
    )


async def verdict(peer: str, path: str = "/v1/models", **settings: object) -> int:
    """200, or the status of the refusal."""
    made = plugin.IPFilter(plugin.IPFilterSettings.model_validate(settings), gw.Metrics())
    seen = await made.inspect(arrival(peer, path=path))
    return seen.status if isinstance(seen, gw.Refusal) else 200


@pytest.mark.parametrize(
    ("peer", "values", "expected"),
    [
        (CALLER, (), CALLER),
        (CALLER, (LIAR,), CALLER),  # not a proxy of ours: its word counts for nothing
        (PROXY, (), PROXY),
        (PROXY, (CALLER,), CALLER),
        (PROXY, (f"{LIAR}, {CALLER}",), CALLER),
        (PROXY, (LIAR, CALLER), CALLER),  # the client's header, then the proxy's
        (PROXY, (f"{LIAR}, {CALLER}, {FAR_PROXY}",), CALLER),
        (PROXY, (f"{PROXY}, {CALLER}",), CALLER),  # a client that names a proxy
        (PROXY, (f"garbage, {CALLER}",), CALLER),
        (PROXY, (FAR_PROXY,), FAR_PROXY),
        (PROXY, (f"{CALLER}:4711",), CALLER),
        (PROXY, ("[2001:db8::7]:443",), "2001:db8::7"),
        (PROXY, ("2001:db8::7",), "2001:db8::7"),
        (PROXY, (f"::ffff:{CALLER}",), CALLER),
        (f"::ffff:{PROXY}", (CALLER,), CALLER),
        ("fd00::1%eth0", (CALLER,), CALLER),
    ],
)
async def test_read_from_the_right(peer: str, values: Sequence[str], expected: str) -> None:
    """The nearest address that is no proxy of ours, whatever a client wrote before it."""
    assert await found(peer, *values) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"for={CALLER}", CALLER),
        (f"for={LIAR}, for={CALLER};proto=https;by={PROXY}", CALLER),
        (f'FOR = "{CALLER}:80" ; host=a', CALLER),
        ('for="[2001:db8::7]:80"', "2001:db8::7"),
        (f'for={LIAR};host="a, for={LIAR}", for={CALLER}', CALLER),
        (f'host="\\", for={LIAR}", for={CALLER}', CALLER),
    ],
)
async def test_the_standard_header(value: str, expected: str) -> None:
    """Quotes hide commas and semicolons; only `for` counts."""
    assert await found(PROXY, value, header="forwarded") == expected


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("forwarded", "for=unknown"),
        ("forwarded", "for=_hidden"),
        ("forwarded", f"by={PROXY}"),
        ("forwarded", f"for={CALLER};for={LIAR}"),
        ("forwarded", f'for="{CALLER}'),
        ("forwarded", f'for={CALLER}, host="open'),
        ("forwarded", ""),
        ("x-forwarded-for", "unknown"),
        ("x-forwarded-for", ""),
        ("x-forwarded-for", f"{CALLER},"),
        ("x-forwarded-for", "1.2.3"),
        ("x-forwarded-for", "0x7f.1"),
        ("x-forwarded-for", "010.0.0.1"),
        ("x-forwarded-for", "[::1"),
        ("x-forwarded-for", "localhost"),
        ("x-forwarded-for", ", ".join([FAR_PROXY] * 40)),
    ],
)
async def test_a_hop_that_names_nobody(header: str, value: str) -> None:
    """Refused, because the proxy's own address would stand for anybody."""
    refusal = await found(PROXY, value, header=header)

    assert isinstance(refusal, gw.Refusal)
    assert (refusal.status, refusal.param) == (400, header)


@given(st.text(max_size=60))
async def test_what_a_client_claims_changes_nothing(claim: str) -> None:
    """Whatever stands before the proxy's own entry."""
    assert await found(PROXY, f"{claim}, {CALLER}") == CALLER
    assert await found(PROXY, claim, CALLER) == CALLER
    assert await found(CALLER, claim) == CALLER


@given(st.text(max_size=60), st.sampled_from(["forwarded", "x-forwarded-for"]))
async def test_any_text_is_an_address_or_refused(text: str, header: str) -> None:
    seen = await found(PROXY, text, header=header)

    assert isinstance(seen, gw.Refusal) or str(address(seen)) == seen


async def test_the_other_header_is_not_read() -> None:
    """A proxy that writes one passes the other as the client sent it."""
    settings = plugin.ClientAddressSettings(trusted_proxies=("10.0.0.0/8",))
    resolver = plugin.resolver(settings)
    assert resolver is not None

    seen = await resolver.inspect(
        arrival(
            PROXY, ("forwarded", f"for={LIAR}"), ("x-real-ip", LIAR), ("x-forwarded-for", CALLER)
        )
    )

    assert isinstance(seen, gw.Arrival) and seen.peer == CALLER


@pytest.mark.parametrize(
    ("peer", "settings", "status"),
    [
        (CALLER, {}, 200),
        (CALLER, {"whitelist": ["203.0.113.0/24"]}, 200),
        (LIAR, {"whitelist": ["203.0.113.0/24"]}, 403),
        (CALLER, {"whitelist": ["203.0.113.0/24"], "blacklist": [CALLER]}, 403),
        (CALLER, {"blacklist": ["0.0.0.0/0"]}, 403),
        ("2001:db8::1", {"blacklist": ["0.0.0.0/0"]}, 200),
        ("2001:db8::1", {"blacklist": ["2001:db8::/32"]}, 403),
        (f"::ffff:{CALLER}", {"blacklist": [CALLER]}, 403),
        (CALLER, {"blacklist": [f"::ffff:{CALLER}"]}, 403),
        (CALLER, {"blacklist": ["::ffff:203.0.113.0/120"]}, 403),
        ("fe80::1%eth0", {"whitelist": ["fe80::/10"]}, 200),
        ("", {"whitelist": ["10.0.0.0/8"]}, 403),
        ("", {"blacklist": ["10.0.0.0/8"]}, 200),
    ],
)
async def test_lists(peer: str, settings: dict[str, object], status: int) -> None:
    """The blacklist wins, an empty whitelist lets in, and mapped addresses are IPv4."""
    assert await verdict(peer, **settings) == status


async def test_probes_are_let_through() -> None:
    """By the exact path only."""
    closed = {"whitelist": ["192.0.2.0/24"]}

    assert await verdict(CALLER, "/health/live", **closed) == 200
    assert await verdict(CALLER, "/health/live/", **closed) == 403
    assert await verdict(CALLER, "/health", **closed) == 403


@given(
    st.lists(st.ip_addresses(v=4).flatmap(lambda a: st.integers(0, 32).map(lambda n: (a, n)))),
    st.ip_addresses(v=4),
)
def test_look_up_agrees_with_each_network(pairs: list[tuple[object, int]], each: object) -> None:
    """However they overlap."""
    import ipaddress

    ranges = [ipaddress.ip_network(f"{a}/{n}", strict=False) for a, n in pairs]
    networks = Networks(network(str(found)) for found in ranges)

    assert (address(str(each)) in networks) == any(each in found for found in ranges)  # type: ignore[operator]  # an address


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("nonsense", "neither"),
        ("1.2.3.4/33", "neither"),
        ("", "neither"),
    ],
)
def test_an_entry_that_is_no_range(entry: str, says: str) -> None:
    """Named at start, with what was meant."""
    with pytest.raises(ValidationError, match=says):
        plugin.IPFilterSettings(whitelist=(entry,))
