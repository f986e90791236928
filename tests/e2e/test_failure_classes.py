"""The table of failure classes, row by row, at every vendor, for clients of both dialects.

One gateway forgets (no breaker, no limits, no health): what is asked again, who else is asked,
what the client sees. Another remembers (one failure opens a breaker): what a failure means for
the requests that follow.
"""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import pytest
import pytest_asyncio
from llm_gateway_api import FAILURES
from llm_gateway_api import FailureClass as F
from llm_gateway_testkit import failures, vendors
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import (
    Answer,
    Cut,
    Garbage,
    Hang,
    Reset,
    ScriptedProvider,
    Step,
    Stream,
)
from llm_gateway_testkit.vendors import Vendor

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = {each.kind: each for each in vendors.vendors()}
WORDS = ("Low", " tide")
QUESTION = [{"role": "user", "content": "When is low tide?"}]
DIALECTS = ("openai", "anthropic")
SIBLING = "sibling/m"
PAUSE = 0.05  # a fault in one segment with the first content is found before that was shown


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what the deployment does (`fault`), and what follows.

    `status` and `code` are the client's where nobody else can be asked; None: the vendor's own.
    `after` is what becomes of the deployment: nothing, its breaker is ``open``, its gate is
    ``closed`` for the time that it asked for, or it is ``suspended``.
    """

    failure: F
    status: int
    code: str | None
    after: str = ""
    fault: Callable[[Vendor, bool], Step] | None = None
    instance: str = ""
    vendors: frozenset[str] = frozenset(ROWS)

    @property
    def asks_again(self) -> bool:
        return FAILURES[self.failure].retry_same and self.failure is not F.RATE_LIMITED

    @property
    def asks_another(self) -> bool:
        return FAILURES[self.failure].try_next

    @property
    def final(self) -> bool:
        """Whether the client is told that another try cannot help."""
        return self.after in ("", "suspended")


def says(vendor: Vendor, streamed: bool) -> Any:
    return vendor.streams(WORDS) if streamed else vendor.says("Low tide")


def refused(failure: F) -> Callable[[Vendor, bool], Step]:
    return lambda vendor, streamed: failures.refusals(vendor)[failure]


@cache
def having(failure: F) -> frozenset[str]:
    """The vendors that have a status for it."""
    return frozenset(kind for kind, each in ROWS.items() if failure in failures.refusals(each))


def refusal(failure: F, status: int, code: str | None, after: str = "") -> Row:
    return Row(failure, status, code, after, refused(failure), vendors=having(failure))


def cut(vendor: Vendor, streamed: bool) -> Step:
    return Cut("after_headers" if streamed else "mid_body", of=says(vendor, streamed))


def reset(vendor: Vendor, streamed: bool) -> Step:
    return Reset("after_headers" if streamed else "mid_body", of=says(vendor, streamed))


def silent(vendor: Vendor, streamed: bool) -> Step:
    return Hang("after_headers", of=says(vendor, streamed))


TABLE: dict[str, Row] = {
    "caller fault": refusal(F.CALLER_FAULT, 400, None),
    "context too long": refusal(F.CONTEXT_TOO_LONG, 400, "context_length_exceeded"),
    "content policy": refusal(F.CONTENT_POLICY, 400, None),
    "rate limited": refusal(F.RATE_LIMITED, 429, "rate_limit_exceeded", "closed"),
    "overloaded": refusal(F.OVERLOADED, 503, "upstream_overloaded", "open"),
    "server error": refusal(F.SERVER_ERROR, 502, "upstream_error", "open"),
    "connect failure": Row(F.CONNECT, 502, "upstream_unreachable", "open", None, "refused"),
    "no first content": Row(F.NO_FIRST_CONTENT, 504, "upstream_timeout", "open", silent, "hasty"),
    "cut before commit": Row(F.BROKEN_BEFORE_COMMIT, 502, "upstream_truncated", "open", cut),
    "reset before commit": Row(F.BROKEN_BEFORE_COMMIT, 502, "upstream_truncated", "open", reset),
    "no HTTP": Row(F.BROKEN_BEFORE_COMMIT, 502, "upstream_truncated", "open", lambda *_: Garbage()),
    "empty": Row(
        F.BROKEN_BEFORE_COMMIT, 502, "upstream_truncated", "open", lambda *_: Answer(body=b"")
    ),
    "our credential refused": refusal(
        F.CREDENTIAL_REFUSED, 502, "upstream_credentials", "suspended"
    ),
    "account empty": refusal(F.ACCOUNT_EMPTY, 502, "upstream_quota", "suspended"),
    "model gone": refusal(F.MODEL_GONE, 404, "model_not_found", "suspended"),
}
# Their plugins are settings of one that is here: they read the same bytes by the same code.
ALIKE = {"groq", "deepseek", "xai", "openrouter", "fireworks", "ollama", "vllm"}
KINDS = [pytest.param(kind, marks=[pytest.mark.slow] * (kind in ALIKE)) for kind in ROWS]
CASES = [(name, kind) for name, row in TABLE.items() for kind in ROWS if kind in row.vendors]
EACH = [
    pytest.param(name, kind, marks=[pytest.mark.slow] * (kind in ALIKE)) for name, kind in CASES
]


AFTER: dict[str, Callable[[Vendor, Stream, int], Step]] = {
    "cut": lambda vendor, stream, at: Cut("between", at, stream),
    "reset": lambda vendor, stream, at: Reset("between", at, stream),
    "stall": lambda vendor, stream, at: Hang("between", at, stream),
    "nonsense": lambda vendor, stream, at: Stream(
        [*stream.frames[:at], b"data: {nonsense\n\n"], PAUSE, headers=stream.headers
    ),
    "error": lambda vendor, stream, at: Stream(
        [*stream.frames[:at], failures.told(vendor)], PAUSE, headers=stream.headers
    ),
}


@dataclass(frozen=True, slots=True)
class Site:
    """A gateway before every vendor, and one more deployment that can answer for each."""

    gateway: Gateway
    servers: dict[str, ScriptedProvider]
    sibling: ScriptedProvider

    async def ask(self, dialect: str, model: str, streamed: bool) -> Reply:
        path = "chat/completions" if dialect == "openai" else "messages"
        body = {"model": model, "messages": QUESTION, "max_tokens": 50, "stream": streamed}
        url, version = f"{self.gateway.url}/v1/{path}", {"anthropic-version": "2023-06-01"}
        return await call(url, body, key=self.gateway.api_key, headers=version)

    def fresh(self, vendor: Vendor) -> ScriptedProvider:
        self.sibling.reset()
        server = self.servers[vendor.kind]
        server.reset()
        return server


def entry(vendor: Vendor, url: str, **more: Any) -> dict[str, Any]:
    return {**vendor.configured(url), **more}


def pair(name: str, vendor: Vendor) -> dict[str, Any]:
    """A model that the vendor's instance `name` serves first, and the sibling after it."""
    first = {"provider": name, "model": vendor.model, "weight": 1_000_000}
    second = {"provider": "sibling", "model": "m", "weight": 1e-6}
    return {"name": f"both {name}", "deployments": [first, second]}


def configuration(
    sibling: ScriptedProvider, instances: dict[str, tuple[Vendor, dict[str, Any]]]
) -> dict[str, Any]:
    other = {
        "kind": "openai",
        "api_key": vendors.KEY,
        "base_url": f"{sibling.url}/v1",
        "models": ["m"],
    }
    return {
        "providers": {"sibling": other, **{name: own for name, (_, own) in instances.items()}},
        "routing": {"models": [pair(name, each) for name, (each, _) in instances.items()]},
    }


@pytest.fixture(scope="module")
def kinds(request: pytest.FixtureRequest) -> set[str]:
    """Those that this run asks: each takes a while to start."""
    calls = (getattr(each, "callspec", None) for each in request.session.items)
    return {str(each.params["kind"]) for each in calls if each and each.params.get("kind") in ROWS}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def forgetful(kinds: set[str]) -> AsyncIterator[Site]:
    """Tries twice where it may, and remembers nothing."""
    async with vendors.scripted(ROWS.values()) as servers, ScriptedProvider() as sibling:
        instances = {}
        for kind in sorted(kinds):
            each, url = ROWS[kind], servers[kind].url
            instances[kind] = (each, entry(each, url, max_retries=1))
            instances[f"{kind}_hasty"] = (each, entry(each, url, timeout_seconds=0.3))
            instances[f"{kind}_refused"] = (each, entry(each, servers[kind].refused_url()))
        config = {
            **configuration(sibling, instances),
            "resilience": {
                "circuit_breaker": {"enabled": False},
                "retry": {"initial_delay_ms": 1},
            },
            "plugins": {"disabled": ["guard_provider_limits", "routing_health"]},
        }
        async with running_gateway(config) as gateway:
            site = Site(gateway, servers, sibling)
            for kind in sorted(kinds):  # some vendors' rules are read from their SDK, once
                site.servers[kind].default = ROWS[kind].says("Low tide")
                assert (await site.ask("openai", ROWS[kind].name, False)).status == 200
            yield site


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mindful(kinds: set[str]) -> AsyncIterator[Site]:
    """Tries once; one failure is enough to open a breaker. Each row has an instance."""
    async with vendors.scripted(ROWS.values()) as servers, ScriptedProvider() as sibling:
        instances = {}
        for name, kind in (each for each in CASES if each[1] in kinds):
            each, url = ROWS[kind], servers[kind].url
            more: dict[str, Any] = {}
            if TABLE[name].instance == "hasty":
                more["timeout_seconds"] = 0.3
            elif TABLE[name].instance == "refused":
                url = servers[kind].refused_url()
            for streamed in (False, True):
                own = (each, entry(each, url, **more))
                instances[remembered(name, kind, streamed)] = own
        for kind, fault, dialect in product(sorted(kinds), AFTER, DIALECTS):
            gap = {"chunk_gap_seconds": 0.3} if fault == "stall" else {}
            own = (ROWS[kind], entry(ROWS[kind], servers[kind].url, **gap))
            instances[f"{kind}-{fault}-{dialect}"] = own
        config = {
            **configuration(sibling, instances),
            "resilience": {"circuit_breaker": {"failure_threshold": 1, "timeout_seconds": 3600}},
        }
        async with running_gateway(config) as gateway:
            yield Site(gateway, servers, sibling)


def remembered(name: str, kind: str, streamed: bool) -> str:
    return f"{kind}-{name.replace(' ', '_').lower()}-{'stream' if streamed else 'plain'}"


def error_of(reply: Reply, dialect: str) -> tuple[str, str]:
    """(code, type) of an error in the dialect's own shape."""
    found = reply.json
    if dialect == "openai":
        assert set(found["error"]) >= {"message", "type", "param", "code"}
        return found["error"]["code"], found["error"]["type"]
    assert (found["type"], bool(found["error"]["message"])) == ("error", True)
    inner = found["error"]
    return inner.get("details", {}).get("error_code", inner["type"]), inner["type"]


TYPES = {  # of the Messages API, by the status that its SDK knows it by
    400: "invalid_request_error",
    404: "not_found_error",
    429: "rate_limit_error",
    502: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def check_error(reply: Reply, dialect: str, row: Row) -> None:
    """The status and the code of the row, in the dialect's words, and whether to try again."""
    code, kind = error_of(reply, dialect)
    status = row.status
    if dialect == "anthropic":
        status = {503: 529}.get(row.status, row.status)
        assert kind == TYPES[reply.status]
    assert reply.status == status
    assert row.code in (None, code)
    assert reply.headers.get("x-should-retry") == ("false" if row.final else None)
    assert ("retry-after" in reply.headers) == (row.status in (429, 503))
    if row.failure is F.RATE_LIMITED:
        assert reply.headers["retry-after"] == failures.WAIT
    assert vendors.KEY.encode() not in reply.body


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(("name", "kind"), EACH)
async def test_alone(forgetful: Site, name: str, kind: str, streamed: bool) -> None:
    """Nobody else can be asked: who may help by another try is asked again; then the client
    gets the row's status and code, whichever dialect it speaks."""
    row, vendor = TABLE[name], ROWS[kind]
    instance = f"{kind}_{row.instance}" if row.instance else kind
    for dialect in DIALECTS:
        server = forgetful.fresh(vendor)
        if row.fault is not None:
            server.default = row.fault(vendor, streamed)

        reply = await forgetful.ask(dialect, f"{instance}/{vendor.model}", streamed)

        check_error(reply, dialect, row)
        expected = 0 if row.fault is None else 2 if row.asks_again else 1
        assert len(server.received) == expected, reply.body


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(("name", "kind"), EACH)
async def test_with_a_sibling(forgetful: Site, name: str, kind: str, streamed: bool) -> None:
    """Another deployment answers what is not the request's own fault, and at once."""
    row, vendor = TABLE[name], ROWS[kind]
    instance = f"{kind}_{row.instance}" if row.instance else kind
    for dialect in DIALECTS:
        server = forgetful.fresh(vendor)
        if row.fault is not None:
            server.enqueue(row.fault(vendor, streamed))
        forgetful.sibling.default = says(ROWS["openai"], streamed)

        reply = await forgetful.ask(dialect, f"both {instance}", streamed)

        assert len(forgetful.sibling.received) == int(row.asks_another)
        if not row.asks_another:
            check_error(reply, dialect, row)
            continue
        assert (reply.status, reply.headers["x-gateway-provider"]) == (200, "sibling")
        assert reply.headers["x-gateway-attempts"] == "2"
        assert reply.headers["x-gateway-fallback"] == str(row.failure)
        assert b"Low" in reply.body and b"error" not in reply.body


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize(("name", "kind"), EACH)
async def test_afterwards(mindful: Site, name: str, kind: str, streamed: bool) -> None:
    """What counts opens the breaker, a limit closes the gate, a refusal of us suspends: another
    deployment then answers at first, and who has no other is told why. Nothing else is kept."""
    row, vendor = TABLE[name], ROWS[kind]
    instance, server = remembered(name, kind, streamed), mindful.fresh(vendor)
    if row.fault is not None:
        server.default = row.fault(vendor, streamed)
    assert (await mindful.ask("openai", f"{instance}/{vendor.model}", streamed)).status != 200
    asked = len(server.received)
    if not row.after:
        server.default = says(vendor, streamed)
    mindful.sibling.default = says(ROWS["openai"], streamed)

    both = await mindful.ask("openai", f"both {instance}", streamed)
    alone = await mindful.ask("openai", f"{instance}/{vendor.model}", streamed)

    assert both.status == 200
    assert both.headers["x-gateway-provider"] == ("sibling" if row.after else instance)
    assert both.headers["x-gateway-attempts"] == "1"
    if not row.after:
        assert (alone.status, len(server.received)) == (200, asked + 2)
    elif row.after == "suspended":  # asked again, where nobody else can be
        check_error(alone, "openai", row)
        assert len(server.received) == asked + 1
    else:
        status, code = {"open": (503, "circuit_open"), "closed": (429, row.code)}[row.after]
        assert (alone.status, error_of(alone, "openai")[0]) == (status, code)
        assert "x-should-retry" not in alone.headers
        assert int(alone.headers["retry-after"]) > 0
        assert len(server.received) == asked


@pytest.mark.parametrize("kind", KINDS)
async def test_limited_without_a_word_of_when(forgetful: Site, kind: str) -> None:
    """A limit whose wait is short or unknown is waited for, once; then the client is told to."""
    vendor = ROWS[kind]
    server = forgetful.fresh(vendor)
    server.default = vendor.limits()

    reply = await forgetful.ask("openai", vendor.name, False)

    assert (reply.status, len(server.received)) == (429, 2)
    assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("kind", KINDS)
async def test_stale_connection(forgetful: Site, kind: str, streamed: bool) -> None:
    """A kept connection that ends before any byte of the answer is replaced, at no cost."""
    vendor = ROWS[kind]
    server = forgetful.fresh(vendor)
    for fault in (Cut(), Reset()):
        server.enqueue(vendor.says("Low tide"), fault, says(vendor, streamed))

        first = await forgetful.ask("openai", vendor.name, False)
        second = await forgetful.ask("openai", vendor.name, streamed)

        assert [first.status, second.status] == [200, 200]
        assert second.headers["x-gateway-attempts"] == "1"


@pytest.mark.parametrize("kind", KINDS)
async def test_error_inside_a_stream_before_content(forgetful: Site, kind: str) -> None:
    """After a 200, and before the client has seen anything: another deployment answers, and
    where there is none the client gets a status that says so."""
    vendor = ROWS[kind]
    stream = vendor.streams(WORDS)
    before = stream.frames[: failures.first_content(stream, WORDS[0].encode())]
    broken = Stream([*before, failures.told(vendor)], headers=stream.headers)
    for dialect in DIALECTS:
        server = forgetful.fresh(vendor)
        server.enqueue(broken)
        forgetful.sibling.default = says(ROWS["openai"], True)
        answered = await forgetful.ask(dialect, f"both {kind}", True)
        server.default = broken
        alone = await forgetful.ask(dialect, vendor.name, True)

        assert (answered.status, answered.headers["x-gateway-provider"]) == (200, "sibling")
        assert b"Low" in answered.body and b"error" not in answered.body
        assert alone.status in (502, 503, 529)
        assert error_of(alone, dialect)[0] in ("upstream_error", "upstream_overloaded")
        assert len(server.received) == 3  # once for the first request, twice for the other


@pytest.mark.parametrize("name", AFTER)
@pytest.mark.parametrize("kind", KINDS)
async def test_broken_after_commit(mindful: Site, kind: str, name: str) -> None:
    """After content the stream ends in an error frame and without its mark, nobody else is
    asked, and the failure counts: the breaker is open."""
    vendor = ROWS[kind]
    stream = vendor.streams(WORDS)
    at = failures.first_content(stream, WORDS[0].encode()) + 1
    for dialect in DIALECTS:
        instance, server = f"{kind}-{name}-{dialect}", mindful.fresh(vendor)
        server.enqueue(AFTER[name](vendor, stream, at))

        reply = await mindful.ask(dialect, f"both {instance}", True)

        assert reply.status == 200
        assert WORDS[0].encode() in reply.body
        last = reply.body.strip().split(b"\n\n")[-1]
        data = json.loads(last.partition(b"data: ")[2])
        assert data["error"]["message"]
        assert b"[DONE]" not in reply.body and b"event: message_stop" not in reply.body
        assert (len(server.received), len(mindful.sibling.received)) == (1, 0)
        again = await mindful.ask(dialect, f"{instance}/{vendor.model}", True)
        assert error_of(again, dialect)[0] == "circuit_open"
