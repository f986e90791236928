"""Secrets are seen nowhere: a canary stands in every place that takes one, and all that the
gateway says or writes is searched for them, in good days and bad."""

import asyncio
import base64
import gzip
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis.asyncio
from aiohttp import web
from click.testing import CliRunner
from llm_gateway.cli import cli
from llm_gateway_sdk import RequestSigning
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import Gateway, free_ports, running_gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import ScriptedProvider
from llm_gateway_testkit.steps import Answer, Cut, Garbage, Received, Script, Stream

MASTER_KEY = base64.b64encode(b"canary-of-a-master-key-32-bytes!").decode()
# The place, and what stands there.
CANARIES: Mapping[str, str] = {
    "provider key": "sk-canary-provider-key",
    "second provider's key": "sk-ant-canary-provider-key",
    "provider's header": "canary-provider-header",
    "provider's proxy": "canary-proxy-password",
    "provider key out of a secret": "canary-referenced-secret",
    "client key": "canary-client-key-0123456789",
    "client key in the environment": "canary-env-client-key-0123456789",
    "wrong client key": "canary-wrong-client-key-0123456789",
    "admin key": "canary-admin-key-0123456789",
    "stored secret": "canary-stored-secret",
    "master key": MASTER_KEY,
    "audit's seal": "canary-audit-seal",
    "signing secret": "canary-signing-secret-0123456789abcdef",
    "webhook": "canary-webhook-token",
    "guardrail's key": "canary-guardrail-key",
    "database password": "canary-database-password",
    "redis password": "canary-redis-password",
    "collector's key": "canary-collector-key",
    "vault token": "canary-vault-token",
}
CLIENT, ADMIN = CANARIES["client key"], CANARIES["admin key"]
HELLO = {"messages": [{"role": "user", "content": "When is low tide?"}]}
SECONDS = 30.0


def config(upstream: str, collector: str) -> dict[str, Any]:
    up = {"kind": "openai", "base_url": f"{upstream}/v1", "api_key": CANARIES["provider key"]}
    once = {**up, "max_retries": 0, "timeout_seconds": 2}
    budget = f"http://127.0.0.1:9/{CANARIES['webhook']}"
    proxy = CANARIES["provider's proxy"]
    return {
        "providers": {
            "up": {**once, "headers": {"x-team": CANARIES["provider's header"]}},
            "other": {
                "kind": "anthropic",
                "base_url": upstream,
                "api_key": CANARIES["second provider's key"],
                "max_retries": 0,
                "timeout_seconds": 2,
            },
            "referring": {**once, "api_key": "${secret:referenced}"},
            "proxied": {
                **once,
                "base_url": "http://canary.invalid/v1",
                "proxy": f"http://user:{proxy}@127.0.0.1:9",
            },
            "nobody": {**once, "base_url": "http://127.0.0.1:9/v1"},
        },
        "routing": {"default_provider": "up", "health_check_interval_seconds": 0},
        "resilience": {"circuit_breaker": {"enabled": False}},
        "security": {
            "auth": {"api_keys": [CLIENT], "admin_key": ADMIN},
            "secrets": {"encryption_key": MASTER_KEY},
            "request_signing": {"secrets": {"k1": CANARIES["signing secret"]}},
        },
        "plugins": {
            "audit_log": {"key": CANARIES["audit's seal"], "ship_seconds": 0.05},
            "limit_budget": {"webhook_url": budget, "unknown_price": "allow"},
        },
        "telemetry": {
            "logging": {"level": "debug"},
            "tracing": {
                "otlp_endpoint": collector,
                "sample_rate": 1.0,
                "headers": {"x-collector-key": CANARIES["collector's key"]},
            },
        },
    }


def echo(status: int) -> Script:
    """An upstream that tells back what it was sent, the key too."""

    def answer(received: Received) -> Answer:
        said = json.dumps(dict(received.headers))
        body = {"error": {"message": said, "type": "x", "code": said, "param": said}}
        return Answer(
            status, {"x-echo": received.headers.get("authorization", "")}, json.dumps(body).encode()
        )

    return answer


def echo_in_stream(received: Received) -> Stream:
    frames = [
        *openai.chat_stream(["Low"])[:2],
        openai.error_frame(received.headers["authorization"]),
    ]
    return Stream(frames)


def echo_as_garbage(received: Received) -> Garbage:
    return Garbage(received.headers["authorization"].encode() + b"\r\n\r\n")


def echo_as_page(received: Received) -> Answer:
    page = f"<html>{dict(received.headers)}</html>".encode()
    return Answer(200, {"content-type": "text/html"}, page)


FAULTS: Mapping[str, tuple[Script, Mapping[str, Any]]] = {
    **{f"echo {status}": (echo(status), {}) for status in (400, 401, 403, 404, 422, 429, 500, 503)},
    "echo in a stream": (echo_in_stream, {"stream": True}),
    "echo as garbage": (echo_as_garbage, {}),
    "echo as a page": (echo_as_page, {}),
    "cut": (Cut("mid_body", 0, openai.chat_answer("fine")), {}),
    "nothing listens": (Cut(), {"model": "nobody/m"}),
    "a dead proxy": (Cut(), {"model": "proxied/m"}),
    "another dialect": (echo(401), {"model": "other/claude"}),
    "a referenced secret": (echo(400), {"model": "referring/m"}),
}


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An OTLP endpoint, and what it was sent."""
    sent: list[bytes] = []

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        zipped = request.headers.get("content-encoding") == "gzip"
        sent.append(gzip.decompress(body) if zipped else body)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}", sent
    finally:
        await runner.cleanup()


@pytest.fixture
def stores() -> Iterator[tuple[servers.Server, servers.Server]]:
    with servers.postgres() as database, servers.redis() as state:
        yield database, state


class Searched:
    """What was said, by where; `found` are the canaries in it."""

    def __init__(self) -> None:
        self.said: dict[str, bytes] = {}

    def add(self, where: str, *said: bytes | str) -> None:
        data = b"\n".join(each.encode() if isinstance(each, str) else each for each in said)
        self.said[where] = self.said.get(where, b"") + data

    def reply(self, where: str, reply: Reply) -> None:
        self.add(where, repr(reply.headers), reply.body)

    def found(self, but: Mapping[str, Sequence[str]] = {}) -> list[tuple[str, str]]:
        return [
            (where, name)
            for where, said in self.said.items()
            for name, value in CANARIES.items()
            if value.encode() in said and name not in but.get(where, ())
        ]


class Sender:
    """Sends what `call` sends, signed with the canary where that is asked for; sometimes with
    a signature that is not good, whose refusal is searched too."""

    def __init__(self, signed: bool) -> None:
        self._signing = RequestSigning(CANARIES["signing secret"], "k1") if signed else None

    async def __call__(
        self,
        url: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
    ) -> Reply:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = dict(headers or {})
        if self._signing is not None:
            verb = method or ("GET" if body is None else "POST")
            parts = urlsplit(url)
            made = self._signing.signature(verb, parts.path, parts.query, data or b"")
            given["x-signature"] = made
        return await call(url, data, key=key, headers=given, method=method)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
async def test_no_secret_is_seen_anywhere(
    tmp_path: Path, stores: tuple[servers.Server, servers.Server], signed: bool
) -> None:
    """With requests that are signed and without; signed ones are refused while the state is
    gone that tells replays apart."""
    sender = Sender(signed)
    database, state = stores
    folder = tmp_path / "data"
    searched = Searched()
    async with redis.asyncio.Redis.from_url(state.url) as client:
        await client.config_set("requirepass", CANARIES["redis password"])
    env = {
        "LLM_GATEWAY_DATA_DIR": str(folder),
        "LLM_GATEWAY_API_KEYS": CANARIES["client key in the environment"],
        "LLM_GATEWAY_SECRET_REFERENCED": CANARIES["provider key out of a secret"],
        "DATABASE_URL": database.url.replace(
            "gateway@", f"gateway:{CANARIES['database password']}@"
        ),
        "REDIS_URL": state.url.replace("redis://", f"redis://:{CANARIES['redis password']}@"),
        "PYTHONFAULTHANDLER": "1",
    }
    async with collector() as (url, exported), ScriptedProvider() as provider:
        given = config(provider.url, url)
        given["security"]["request_signing"]["enabled"] = signed
        async with running_gateway(given, env) as gateway:
            await asked(gateway, provider, searched, sender, FAULTS)
            await administered(gateway, searched, sender)
            if signed:
                await missigned(gateway, searched, sender)
            database.stop()
            state.stop()
            faults = ("echo 401", "a referenced secret")
            await asked(gateway, provider, searched, sender, faults)
            await administered(gateway, searched, sender)
            limits = Path(f"/proc/{gateway.process.pid}/limits").read_text()
            await wait_for(lambda: bool(exported))
            os.kill(gateway.process.pid, signal.SIGABRT)
            await gateway.process.wait()
            await wait_for(
                lambda: any("Fatal Python error" in each for each in gateway.log_lines())
            )
    searched.add("standard output and error", *gateway.log_lines())
    searched.add("traces", *exported)
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        searched.add(f"file {path.relative_to(folder)}", path.read_bytes())

    assert len(searched.said) > 20
    assert all(searched.said[each] for each in ("standard output and error", "traces", "metrics"))
    assert searched.found() == [], "\n".join(map(str, searched.found()))
    (core,) = (each for each in limits.splitlines() if each.startswith("Max core file size"))
    assert core.split()[4] == "0"


async def asked(
    gateway: Gateway,
    provider: ScriptedProvider,
    searched: Searched,
    sender: "Sender",
    faults: Iterable[str],
) -> None:
    """Model requests, each of the faults, and callers who are refused."""
    url = f"{gateway.url}/v1/chat/completions"
    provider.reset()
    provider.enqueue(openai.chat_answer("fine"))
    searched.reply("an answer", await sender(url, {"model": "up/m", **HELLO}, key=CLIENT))
    for name in faults:
        script, members = FAULTS[name]
        provider.reset()
        provider.default = script
        reply = await sender(url, {"model": "up/m", **HELLO, **members}, key=CLIENT)
        searched.reply(f"fault: {name}", reply)
    wrong = CANARIES["wrong client key"]
    for headers in (
        {"authorization": f"Bearer {wrong}"},
        {"x-api-key": wrong},
        {"authorization": wrong},
    ):
        searched.reply("a refused caller", await sender(url, {**HELLO}, headers=headers))
    searched.reply("no JSON", await sender(url, b'{"model": ', key=CLIENT))
    searched.reply("models", await sender(f"{gateway.url}/v1/models", key=CLIENT))


async def administered(gateway: Gateway, searched: Searched, sender: "Sender") -> None:
    """Everything that may be read or changed; a stored secret and a rotation too."""
    stored = {"value": CANARIES["stored secret"]}
    for method, path, body in (
        ("PUT", "/admin/v1/secrets/kept", stored),
        ("PUT", "/admin/v1/secrets/kept", {"values": CANARIES["stored secret"]}),
        ("POST", "/admin/v1/secrets/rotate", {}),
        ("POST", "/admin/v1/explain", {"body": {"model": "up/m", **HELLO}}),
        ("GET", "/openapi.json", None),
        ("GET", "/health?detailed=true", None),
    ):
        searched.reply(
            f"{method} {path}", await sender(f"{gateway.url}{path}", body, key=ADMIN, method=method)
        )
    page = (await sender(f"{gateway.url}/openapi.json")).json
    plain = {"{id}": "x", "{kind}": "usage", "{name}": "kept"}
    paths = {
        path: re.sub("{.*?}", lambda found: plain[found[0]], path)
        for path, methods in page["paths"].items()
        if path.startswith("/admin/v1/") and "get" in methods
    }
    replies = await asyncio.gather(
        *(sender(f"{gateway.url}{each}", key=ADMIN) for each in paths.values())
    )
    for path, reply in zip(paths, replies, strict=True):
        searched.reply(f"GET {path}", reply)
    searched.reply("metrics", await sender(f"{gateway.metrics_url}/metrics"))


async def missigned(gateway: Gateway, searched: Searched, sender: Sender) -> None:
    """Without a signature, with a stranger's, and with one that has been taken."""
    url = f"{gateway.url}/v1/models"
    signer = RequestSigning(CANARIES["signing secret"], "k1")
    good = signer.signature("GET", "/v1/models", "", b"")
    other = RequestSigning("x" * 40, "k1").signature("GET", "/v1/models", "", b"")
    secret = CANARIES["signing secret"]
    for value in (good, good, other, secret, f"k1:{secret}", ""):
        reply = await call(url, key=CLIENT, headers={"x-signature": value} if value else {})
        searched.reply("a refused signature", reply)
    assert b"request_replayed" in searched.said["a refused signature"]


async def wait_for(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.05)


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(json.dumps(document))
    *above, last = path.split(".")
    at = whole
    for name in above:
        at = at.setdefault(name, {})
    at[last] = value
    return whole


NEEDLE = "canary-where-it-does-not-fit"
MISTAKES: Mapping[str, Any] = {
    "providers.up.api_key": [NEEDLE],
    "providers.up.api_keys": NEEDLE,
    "providers.up.headers": {"x": [NEEDLE]},
    "providers.up.proxy": f"gopher://u:{NEEDLE}@h",
    "providers.up.base_url": f"nothing://u:{NEEDLE}@h",
    "security.auth.api_keys": NEEDLE,
    "security.auth.admin_key": {"key": NEEDLE},
    "security.secrets.encryption_key": NEEDLE,
    "security.request_signing.secrets": {"k": "canary-where"},
    "plugins.limit_budget.webhook_url": [NEEDLE],
    "plugins.audit_log.key": [NEEDLE],
    "plugins.secrets_vault": {"address": f"nothing://u:{NEEDLE}@h", "token": [NEEDLE]},
    "database.url": f"mysql://u:{NEEDLE}@h/d",
    "state.redis_url": f"http://u:{NEEDLE}@h/0",
    "telemetry.tracing.headers": {"x": [NEEDLE]},
    "telemetry.tracing.otlp_endpoint": f"jaeger://u:{NEEDLE}@h",
}


@pytest.mark.parametrize("path", MISTAKES)
def test_a_secret_where_it_does_not_fit_is_not_quoted(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong is told by its path."""
    monkeypatch.setenv("LLM_GATEWAY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LLM_GATEWAY_SECRET_REFERENCED", "x")
    file = tmp_path / "gateway.yaml"
    document = changed(config("http://127.0.0.1:9", "http://127.0.0.1:9"), path, MISTAKES[path])
    file.write_text(json.dumps(document))
    validated = CliRunner().invoke(cli, ["validate", str(file)])
    shown = CliRunner().invoke(cli, ["config", "show", "-c", str(file)])

    assert validated.exit_code == 1, validated.output
    assert path.split(".")[0] in validated.output
    for each in (validated, shown):
        assert NEEDLE not in each.output + repr(each.exception)
        assert "canary-where" not in each.output


def test_commands_show_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the configuration, of the installation, of the database."""
    monkeypatch.setenv("LLM_GATEWAY_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("LLM_GATEWAY_SECRET_REFERENCED", CANARIES["provider key out of a secret"])
    password = CANARIES["database password"]
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{password}@127.0.0.1:9/d")
    monkeypatch.setenv("REDIS_URL", f"redis://:{CANARIES['redis password']}@127.0.0.1:9/0")
    file = tmp_path / "gateway.yaml"
    given = config("http://127.0.0.1:9", "http://127.0.0.1:9")
    given["plugins"]["secrets_vault"] = {
        "address": "http://127.0.0.1:9",
        "token": CANARIES["vault token"],
        "timeout_seconds": 0.2,
    }
    given["plugins"]["filter_guardrail"] = {
        "external": [{"name": "g", "url": "http://127.0.0.1:9", "key": CANARIES["guardrail's key"]}]
    }
    file.write_text(json.dumps(given))
    searched = Searched()
    for arguments in (
        ["config", "show", "-c", str(file)],
        ["--json", "config", "show", "-c", str(file)],
        ["validate", str(file), "--strict"],
        ["config", "schema"],
        ["info", "--detailed"],
        ["plugins", "list"],
        ["plugins", "check"],
        ["migrate", "status", "-c", str(file)],
        ["migrate", "run", "-c", str(file)],
    ):
        done = CliRunner().invoke(cli, arguments)
        searched.add(" ".join(arguments), done.output, repr(done.exception))

    assert "**********" in searched.said[f"config show -c {file}"].decode()
    assert searched.found() == []
