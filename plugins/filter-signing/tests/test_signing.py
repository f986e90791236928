"""Signatures: what is signed, who is believed, how old, and how often."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_api import signature_digest, signed_text
from llm_gateway_filter_signing import plugin
from llm_gateway_filter_signing.signature import parsed
from llm_gateway_sdk import RequestSigning
from llm_gateway_state_host.host import HostState
from llm_gateway_state_host.process import ProcessState
from pydantic import ValidationError

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
OLD, NEW = "old-" + "0" * 32, "new-" + "1" * 32
NOW = 1_767_225_600.0
BODY = b'{"model":"m"}'
PATH = "/v1/chat/completions"


class Lost:
    """State that cannot be reached."""

    async def claim(self, key: str, seconds: float) -> bool:
        raise ConnectionError("no route")


def made(
    state: Any = None, secrets: dict[str, str] | None = None, now: float = NOW, **settings: object
) -> plugin.SigningFilter:
    given = {"enabled": True, "secrets": secrets or {"old": OLD}, **settings}
    model = plugin.SigningSettings.model_validate(given)
    return plugin.SigningFilter(model, state or ProcessState(), gw.Metrics(), lambda: now)


def signed(
    secret: str = OLD,
    key: str = "old",
    *,
    at: float = NOW,
    nonce: str | None = None,
    method: str = "POST",
    path: str = PATH,
    query: str = "",
    body: bytes = BODY,
) -> str:
    signer = RequestSigning(secret, key, now=lambda: at)
    return signer.signature(method, path, query, body, nonce=nonce)


def admission(
    header: str | None = None,
    *,
    method: str = "POST",
    path: str = PATH,
    query: str = "",
    body: bytes = BODY,
    name: str = "x-signature",
) -> gw.Admission:
    headers = {} if header is None else {name: header}
    arrival = gw.Arrival("r", method, path, query, headers, "127.0.0.1", 0.0)
    return gw.Admission(arrival, gw.RequestHead("d", "chat", "m", False, False, {}, body))


async def code(filter_: plugin.SigningFilter, seen: gw.Admission) -> str:
    """``ok``, or the code of the refusal."""
    answer = await filter_.inspect(seen)
    if isinstance(answer, gw.Refusal):
        assert answer.status in (401, 503)
        return answer.code
    assert answer is seen
    return "ok"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda each: str(each["name"]))
async def test_vectors(vector: dict[str, Any]) -> None:
    """What openssl made of the documented text is taken, and the client makes the same."""
    secrets = {vector["key"] or "some": vector["secret"]}
    body = vector["body"].encode()
    parts = {each: vector[each] for each in ("method", "path", "query")}

    taken = await code(
        made(secrets=secrets, now=vector["at"]), admission(vector["header"], body=body, **parts)
    )
    signer = RequestSigning(vector["secret"], vector["key"], now=lambda: vector["at"])

    assert taken == "ok"
    assert signer.signature(*parts.values(), body, nonce=vector["nonce"]) == vector["header"]


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "PUT"},
        {"path": PATH + "/"},
        {"path": PATH + "\n"},
        {"query": "a=1"},
        {"body": BODY + b" "},
        {"body": b""},
    ],
)
async def test_what_was_changed_on_its_way_is_refused(changed: dict[str, Any]) -> None:
    assert await code(made(), admission(signed(), **changed)) == "invalid_signature"


@pytest.mark.parametrize("field", ["t", "n", "k"])
async def test_no_field_of_the_header_can_be_exchanged(field: str) -> None:
    """Time, nonce and key id are signed too: a replay cannot be made fresh."""
    fields = dict(part.split("=") for part in signed().split(","))
    fields[field] = {"t": str(int(NOW) + 1), "n": "n" * 20, "k": "new"}[field]
    header = ",".join(f"{name}={value}" for name, value in fields.items())

    both = made(secrets={"old": OLD, "new": OLD})
    assert await code(both, admission(header)) == "invalid_signature"


@pytest.mark.parametrize(
    ("off", "expected"),
    [(0, "ok"), (299, "ok"), (-299, "ok"), (301, "signature_expired"), (-301, "signature_expired")],
)
async def test_clocks_that_differ(off: float, expected: str) -> None:
    """A little either way is taken."""
    assert await code(made(), admission(signed(at=NOW + off))) == expected


async def test_rotation() -> None:
    """Both secrets are good while both are there, by name or without; then the new one only."""
    both, after = made(secrets={"old": OLD, "new": NEW}), made(secrets={"new": NEW})

    for secret, key in ((OLD, "old"), (NEW, "new"), (OLD, ""), (NEW, "")):
        assert await code(both, admission(signed(secret, key))) == "ok"
    for secret, key in ((NEW, "old"), (OLD, "new"), (OLD, "gone")):
        assert await code(both, admission(signed(secret, key))) == "invalid_signature"
    assert await code(after, admission(signed(OLD, "old"))) == "invalid_signature"
    assert await code(after, admission(signed(NEW, "new"))) == "ok"


async def test_a_signature_is_taken_once_by_all_workers(tmp_path: Path) -> None:
    """Whichever of four it reaches, at once or later, with its key id or another's nonce."""
    async with AsyncExitStack() as stack:
        states = [HostState(tmp_path / "state") for _ in range(4)]
        for each in states:
            await stack.enter_async_context(each.open())
        workers = [made(each) for each in states]
        header = signed()

        answers = await asyncio.gather(
            *(code(workers[n % 4], admission(header)) for n in range(40))
        )

        assert sorted(answers) == ["ok"] + ["request_replayed"] * 39
        assert [await code(each, admission(header)) for each in workers] == ["request_replayed"] * 4


async def test_a_wrong_signature_uses_up_no_nonce() -> None:
    """A stranger cannot spend the nonce that somebody else is about to use."""
    filter_ = made()
    nonce = "nonce-0123456789"
    wrong = signed("x" * 32, nonce=nonce)

    assert await code(filter_, admission(wrong)) == "invalid_signature"
    assert await code(filter_, admission(signed(nonce=nonce))) == "ok"


async def test_the_nonce_is_kept_as_long_as_its_signature_is_good() -> None:
    """From a clock ahead by the whole skew to one behind by it."""
    kept: list[float] = []

    class Keeps:
        async def claim(self, key: str, seconds: float) -> bool:
            kept.append(seconds)
            return True

    assert await code(made(Keeps()), admission(signed(at=NOW + 300))) == "ok"
    assert kept[0] > 600


async def test_lost_state_refuses() -> None:
    """It cannot be told whether it is a replay, so it is not taken, and that is no 401."""
    answer = await made(Lost()).inspect(admission(signed()))

    assert isinstance(answer, gw.Refusal)
    assert (answer.status, answer.code) == (503, "signing_unavailable")
    assert answer.retry_after is not None


def headers_that_are_none() -> Iterator[str]:
    good = signed(nonce="nonce-0123456789")
    yield from ("", ",", "t", "t=1", "Bearer x", good + ",", good + ",t=1", good + ",x=1")
    yield from (good.replace("t=", "T="), good.replace("t=1", "t=01"), good.replace("t=1", "t=-1"))
    yield from (good.replace("n=nonce", "n=no nce"), good.replace("0123456789", ""), good[:-1])
    yield from (good.upper(), good.replace("t=1", "t=1.0"), good + "0", "s=" + "0" * 64)
    yield from (good.replace(",", ";"), good.replace("t=1", "t=\u0661"), good.replace("n=", "n=\0"))


@pytest.mark.parametrize("header", list(headers_that_are_none()))
async def test_what_is_no_signature(header: str) -> None:
    assert await code(made(), admission(header)) == "invalid_signature"


async def test_cut_at_every_byte() -> None:
    header = signed()

    for cut in range(len(header)):
        assert await code(made(), admission(header[:cut])) == "invalid_signature"


@given(st.text(max_size=200))
def test_any_text_is_read_or_not(text: str) -> None:
    assert parsed(text) is None


async def test_unsigned() -> None:
    """Refused, with the header's name."""
    filter_ = made(header_name="X-Acme-Sign")
    answer = await filter_.inspect(admission())

    assert isinstance(answer, gw.Refusal)
    assert "X-Acme-Sign" in answer.message and answer.param == "X-Acme-Sign"
    assert await code(filter_, admission(signed(), name="x-acme-sign")) == "ok"


async def test_routes_of_plugins() -> None:
    """Signed too, unless the settings leave them out."""
    arrival = gw.Arrival("r", "GET", "/v1/models", "a=1", {}, "127.0.0.1", 0.0)
    header = signed(method="GET", path="/v1/models", query="a=1", body=b"")
    with_it = gw.Arrival("r", "GET", "/v1/models", "a=1", {"x-signature": header}, "", 0.0)

    refusal = await made().inspect_endpoint(arrival, b"")

    assert refusal is not None and refusal.status == 401
    assert await made().inspect_endpoint(with_it, b"") is None
    assert await made(endpoints=False).inspect_endpoint(arrival, b"") is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"secrets": {}}, "empty"),
        ({"secrets": {"a": "short"}}, "openssl rand"),
        ({"secrets": {"a b": OLD}}, "key id"),
        ({"secrets": {"a": OLD}, "algorithm": "md5"}, "hmac-sha256"),
        ({"secrets": {"a": OLD}, "header_name": "a b"}, "pattern"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        plugin.SigningSettings.model_validate({"enabled": True, **settings})


def test_without_state_the_start_is_refused() -> None:
    settings = plugin.SigningSettings.model_validate({"enabled": True, "secrets": {"a": OLD}})

    with pytest.raises(gw.ConfigurationError, match="state-host"):
        plugin.make(settings, state=None, metrics=gw.Metrics())


@pytest.mark.parametrize("path", [PATH, "/v1/models/a b/\u00fc%2f", "/x?q=1&r=%20", "/?"])
async def test_any_httpx_client_signs(path: str) -> None:
    """What goes over the wire is what the filter computes from it; each attempt anew."""
    seen: list[httpx.Request] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    auth = RequestSigning(OLD, "old", now=lambda: NOW)
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler), auth=auth) as client:
        await client.post("http://gw" + path, content=BODY)
        await client.post("http://gw" + path, content=BODY)

    filter_ = made()
    for request in seen:
        raw_path, _, query = request.url.raw_path.decode().partition("?")
        header = request.headers["x-signature"]
        got = admission(header, path=httpx.URL(raw_path).path, query=query)
        assert await code(filter_, got) == "ok"


def test_the_signed_text_cannot_be_read_in_two_ways() -> None:
    """A line feed in the path makes another number of lines, so no other request."""
    one = signed_text("POST", "/a", "b", 1, "n" * 16, "k", b"")
    other = signed_text("POST", "/a\nb", "", 1, "n" * 16, "k", b"")

    assert one.count(b"\n") == 7 != other.count(b"\n")
    assert signature_digest(b"s", one) != signature_digest(b"s", other)
