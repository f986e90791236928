"""Names the gateway answers to, what is stripped, and what is added."""

import llm_gateway_api as gw
import pytest
from llm_gateway_filter_headers import plugin
from llm_gateway_filter_headers.hosts import Hosts
from multidict import CIMultiDict, CIMultiDictProxy
from pydantic import ValidationError


def arrival(*headers: tuple[str, str], path: str = "/v1/models") -> gw.Arrival:
    sent = CIMultiDictProxy(CIMultiDict(headers))
    return gw.Arrival("r", "POST", path, "", sent, "127.0.0.1", 0.0)


def made(**settings: object) -> plugin.HeaderFilter:
    return plugin.HeaderFilter(plugin.HeaderSettings.model_validate(settings))


@pytest.mark.parametrize(
    ("entry", "host", "allowed"),
    [
        ("api.example.com", "api.example.com", True),
        ("api.example.com", "API.Example.Com:8080", True),
        ("api.example.com", "api.example.com.", True),
        ("API.example.com", "api.example.com", True),
        ("api.example.com", "evil.com", False),
        ("api.example.com", "api.example.com.evil.com", False),
        ("api.example.com", "xapi.example.com", False),
        ("api.example.com", "api.example.com@evil.com", False),
        ("api.example.com", "api.example.com/evil", False),
        ("api.example.com", "api.example.com:80:80", False),
        ("api.example.com", "api.example.com ", False),
        ("api.example.com", "", False),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", ".example.com", False),
        ("*.example.com", "aexample.com", False),
        ("*", "anything:1", True),
        ("*", "", False),
        ("[::1]", "[::1]:8080", True),
        ("[::1]", "[::2]", False),
        ("host:8080", "host:8080", True),
        ("host:8080", "host:80", False),
        ("host:8080", "host", False),
    ],
)
def test_names(entry: str, host: str, allowed: bool) -> None:
    """By the whole name; a port counts where the entry has one."""
    assert Hosts([entry]).allows(host) is allowed


@pytest.mark.parametrize("entry", ["", "http://a", "a/b", "*a.com", "a b", "a.*"])
def test_an_entry_that_is_no_host(entry: str) -> None:
    with pytest.raises(ValidationError, match="no host"):
        plugin.HeaderSettings(allowed_hosts=(entry,))


@pytest.mark.parametrize("hosts", [[], ["b"], ["a", "a"], ["a", "b"]])
async def test_one_name_and_an_allowed_one(hosts: list[str]) -> None:
    """None and two are refused, since someone in front may have read the other."""
    headers = [("Host", each) for each in hosts]

    refusal = await made(allowed_hosts=["a"]).inspect(arrival(*headers))

    assert isinstance(refusal, gw.Refusal)
    assert (refusal.status, refusal.code, refusal.param) == (400, "host_not_allowed", "host")


async def test_probes_may_use_any_name() -> None:
    seen = arrival(("host", "10.1.2.3:8080"), path="/health/live")

    assert await made(allowed_hosts=["a"]).inspect(seen) is seen


async def test_what_belongs_to_a_connection_goes_no_further() -> None:
    """With all that `Connection` names, however often it is sent."""
    seen = await made().inspect(
        arrival(
            ("Connection", "close, X-Secret"),
            ("connection", "TE"),
            ("TE", "trailers"),
            ("X-Secret", "1"),
            ("Keep-Alive", "5"),
            ("X-Kept", "first"),
            ("X-Kept", "second"),
        )
    )

    assert isinstance(seen, gw.Arrival)
    assert dict(seen.headers) == {"x-kept": "first"}


@pytest.mark.parametrize("value", ["keep-alive", "Close", "close, keep-alive"])
async def test_a_plain_connection_is_left_alone(value: str) -> None:
    seen = arrival(("connection", value), ("authorization", "Bearer x"))

    assert await made().inspect(seen) is seen


async def test_credentials_and_addresses_are_gone_once_read() -> None:
    """And whatever the operator names; the rest stays."""
    filter_ = plugin.stripper(plugin.HeaderSettings(sensitive=("X-Internal",)))
    assert filter_ is not None
    names = ["Authorization", "X-API-Key", "Cookie", "X-Forwarded-For", "Forwarded", "X-Internal"]

    seen = await filter_.inspect(
        arrival(*((each, "secret") for each in names), ("Anthropic-Beta", "b"))
    )

    assert isinstance(seen, gw.Arrival)
    assert dict(seen.headers) == {"anthropic-beta": "b"}
    assert plugin.stripper(plugin.HeaderSettings(remove_sensitive=False)) is None


def test_what_answers_carry() -> None:
    wanted = made().answer_headers()

    assert wanted.added["strict-transport-security"] == "max-age=31536000; includeSubDomains"
    assert wanted.added["content-security-policy"].startswith("default-src 'none'")
    assert wanted.added["x-content-type-options"] == "nosniff"
    assert {"server", "x-powered-by", "transfer-encoding", "content-length"} <= wanted.removed


def test_what_answers_carry_by_setting() -> None:
    """Each part can be left out; framing is nobody's to set."""
    off = made(add_security_headers=False, remove_sensitive=False).answer_headers()
    plain = made(hsts_seconds=0, content_security_policy="").answer_headers()

    assert off.added == {}
    assert "server" not in off.removed and "transfer-encoding" in off.removed
    assert not {"strict-transport-security", "content-security-policy"} & plain.added.keys()


def test_a_policy_holds_no_line_break() -> None:
    with pytest.raises(ValidationError):
        plugin.HeaderSettings(content_security_policy="a\r\nx: y")
