"""Every hook of the first wave, proven from outside by a plugin installed from its wheel."""

import asyncio
import inspect
import json
from typing import Any

import llm_gateway_api.hookspecs as hookspecs
import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import Gateway
from llm_gateway_testkit.rawclient import Reply, call
from llm_gateway_testkit.scripted import Answer, ScriptedProvider


async def say(gateway: Gateway, text: str, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await call(f"{gateway.url}/acme/line", text.encode(), key=gateway.api_key, headers=named)


async def calls(gateway: Gateway) -> list[str]:
    found: list[str] = (await call(f"{gateway.url}/acme/calls", key=gateway.api_key)).json
    return found


def test_every_hook_has_a_test() -> None:
    """A hook without a test named after it fails here."""
    hooks = {name for name, _ in inspect.getmembers(hookspecs) if name.startswith("llm_gateway_")}
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_llm_")}

    assert hooks == tests


async def test_llm_gateway_settings(acme: Any) -> None:
    """A plugin's section reaches its factory."""
    async with acme.running() as gateway:
        answer = await call(f"{gateway.url}/acme/greet/Ada%20L")

    assert (answer.status, answer.body) == (200, b"good day Ada L")


def test_llm_gateway_commands(acme: Any) -> None:
    """A plugin's command is listed and runs."""
    assert "acme" in acme.command("--help").stdout
    assert acme.command("acme").stdout == "hello from acme\n"


def test_llm_gateway_migrations(acme: Any) -> None:
    """What a plugin adds is shown with it."""
    shown = acme.command("--json", "plugins", "show", "acme")

    assert shown.returncode == 0, shown.stderr
    assert "migrations" in shown.stdout
    assert "acme_notes" in acme.command("migrate", "run", "--dry-run").stdout


async def test_llm_gateway_frontends(acme: Any) -> None:
    """A dialect that is no JSON at all is served, errors too."""
    async with acme.running() as gateway:
        good = await say(gateway, "pair hi")
        bad = await say(gateway, "nothing")

    assert good.status == 200
    assert good.body == b"acme acme-2 heard hi\n"
    assert bad.status == 400
    assert bad.body.startswith(b"error invalid_body")


async def test_llm_gateway_providers(acme: Any) -> None:
    """A stranger's provider is addressed as provider/model."""
    async with acme.running() as gateway:
        answer = await say(gateway, "acme/acme-9 hi")

    assert answer.body == b"acme acme-9 heard hi\n"
    assert answer.headers["x-gateway-model"] == "acme-9"


async def test_a_provider_that_takes_no_address_gets_the_picture(acme: Any) -> None:
    """The kernel fetches it under the egress guard; what cannot be had is a 400."""
    pixels = b"\x89PNG\r\n\x1a\n"
    async with ScriptedProvider(Answer(body=pixels)) as pictures:
        url = f"pair see {pictures.url}/a.png"
        egress = {"egress": {"allow_private": ["127.0.0.1"]}}
        async with acme.running(security=egress) as gateway:
            seen = await say(gateway, url)
        async with acme.running() as gateway:
            refused = await say(gateway, url)

    assert seen.body == b"acme saw image/png iVBORw0KGgo= None\n"
    assert refused.status == 400
    assert b"messages[0].content[0]" in refused.body and b"allow_private" in refused.body
    assert len(pictures.received) == 1


async def test_llm_gateway_routing_filters(acme: Any) -> None:
    """A filter takes a candidate away; without any left the reasons are told."""
    async with acme.running() as gateway:
        answer = await say(gateway, "pair hi", x_acme="no")
        none = await say(gateway, "acme/acme-2 hi", x_acme="no")

    assert answer.body == b"acme acme-1 heard hi\n"
    assert none.status == 503
    assert b"the caller does not want it" in none.body


async def test_llm_gateway_health_monitors(acme: Any) -> None:
    """What a monitor says of a provider is shown."""
    async with acme.running() as gateway:
        shown = (await call(f"{gateway.url}/health?detailed=true")).json

    assert shown["providers"]["acme"]["state"] == "degraded"


async def test_llm_gateway_routing_scorers(acme: Any) -> None:
    """A scorer outweighs the strategy, and gets back the lease of an attempt it follows."""
    async with acme.running() as gateway:
        answer = await say(gateway, "pair hi", x_acme="first")
        told = await calls(gateway)

    assert answer.headers["x-gateway-model"] == "acme-1"
    assert "fan.report acme/acme-1 None" in told


async def test_llm_gateway_routing_strategies(acme: Any) -> None:
    """The strategy of the configuration decides, and is told how it went."""
    async with acme.running() as gateway:
        answer = await say(gateway, "pair hi")
        told = await calls(gateway)

    assert answer.headers["x-gateway-model"] == "acme-2"
    assert "strategy.report acme/acme-2 None" in told


async def test_llm_gateway_guards(acme: Any) -> None:
    """A guard refuses a target with its own wait; a lease comes back."""
    async with acme.running() as gateway:
        good = await say(gateway, "pair hi")
        closed = await say(gateway, "acme/acme-closed hi")
        told = await calls(gateway)

    assert good.status == 200
    assert (closed.status, closed.headers["retry-after"]) == (503, "7")
    assert "guard.report ticket None" in told


async def test_llm_gateway_attempt_policies(acme: Any) -> None:
    """A policy has a target asked again after a wait, then another one in its place."""
    async with acme.running() as gateway:
        answer = await say(gateway, "acme/acme-moody hi")
        told = await calls(gateway)
        page = await call(f"{gateway.metrics_url}/metrics")

    assert answer.body == b"acme acme-1 heard hi\n"
    assert answer.headers["x-gateway-attempts"] == "3"
    engine = [each for each in told if each.startswith("engine")]
    assert engine == ["engine.stream acme-moody"] * 2 + ["engine.stream acme-1"]
    assert b'gateway_retry_attempts_total{provider="acme"} 1' in page.body
    assert b"gateway_fallbacks_total 1" in page.body


async def test_llm_gateway_limiters(acme: Any) -> None:
    """A limiter refuses, tells what is left, settles what was used, and fails as declared."""
    async with acme.running() as gateway:
        good = await say(gateway, "pair hi")
        limited = await say(gateway, "pair hi", x_acme="limited")
        broken = await say(gateway, "pair hi", x_acme="broken")
        told = await calls(gateway)

    assert good.headers["x-ratelimit-remaining-requests"] == "9"
    assert (limited.status, limited.headers["retry-after"]) == (429, "3")
    assert broken.status == 503
    assert "limiter.settle token 4" in told


async def test_llm_gateway_cache_backends(acme: Any) -> None:
    """The second answer comes from the cache; a broken cache is a miss."""
    async with acme.running(cache={"enabled": True, "backend": "acme"}) as gateway:
        first = await say(gateway, "pair hi")
        second = await say(gateway, "pair hi")
        other = await say(gateway, "pair ho")
        broken = await say(gateway, "pair break the cache")

    assert (first.headers["x-gateway-cache"], second.headers["x-gateway-cache"]) == ("miss", "hit")
    assert first.body == second.body
    assert other.headers["x-gateway-cache"] == "miss"
    assert broken.status == 200


async def test_a_cache_answers_only_whom_routing_would_let_ask(acme: Any) -> None:
    """What a routing filter takes from this caller is not repeated to it either."""
    async with acme.running(cache={"enabled": True, "backend": "acme"}) as gateway:
        allowed = await say(gateway, "acme/acme-2 hi")
        denied = await say(gateway, "acme/acme-2 hi", x_acme="no")
        elsewhere = await say(gateway, "pair hi")
        other = await say(gateway, "pair hi", x_acme="no")

    assert (allowed.status, denied.status) == (200, 503)
    assert b"acme-2" in elsewhere.body and b"acme-1" in other.body
    assert other.headers["x-gateway-cache"] == "miss"


async def test_llm_gateway_security_filters(acme: Any) -> None:
    """A filter replaces what goes up, restores it in the answer, and refuses."""
    async with acme.running() as gateway:
        masked = await say(gateway, "pair my secret")
        denied = await say(gateway, "pair forbidden")

    assert masked.body == b"acme acme-2 heard my SECRET\n"
    assert (denied.status, denied.headers["x-should-retry"]) == (403, "false")


async def test_llm_gateway_observers(acme: Any) -> None:
    """An observer is told; its own failure is counted and changes nothing."""
    async with acme.running() as gateway:
        answer = await say(gateway, "pair hi")
        told = await calls(gateway)
        page = await call(f"{gateway.metrics_url}/metrics")

    assert answer.status == 200
    assert {"observer.started", "observer.attempt acme/acme-2", "observer.finished 200"} <= {*told}
    assert b"gateway_observer_errors_total 1" in page.body


async def test_llm_gateway_tracers(acme: Any) -> None:
    """A SERVER span for the request, a CLIENT span for each attempt, W3C in and out."""
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    provider = ScriptedProvider(openai.error_answer(500), openai.chat_answer("hello again"))
    async with provider:
        up = {"kind": "openai", "api_key": "k", "base_url": f"{provider.url}/v1", "max_retries": 0}
        both = [{"provider": "up", "model": "first"}, {"provider": "up", "model": "second"}]
        async with acme.running(
            providers={"up": up},
            routing={"models": [{"name": "pair", "deployments": both}]},
            plugins={"acme_traces": {"enabled": True}},
        ) as gateway:
            answer = await say(gateway, "pair my words", traceparent=f"00-{trace}-{parent}-01")
        sent = [each.headers["traceparent"].split("-") for each in provider.received]

    assert answer.status == 200
    lines = gateway.log_lines()
    told = [json.loads(each.removeprefix("span ")) for each in lines if each.startswith("span ")]
    first, second, server = told
    assert {each["trace"] for each in told} == {trace}
    assert (server["kind"], server["parent"]) == ("SERVER", parent)
    assert server["http.route"] == "/acme/line"
    assert (server["http.response.status_code"], server["status"]) == (200, "UNSET")
    assert server["gen_ai.usage.output_tokens"] == 2
    assert [each["kind"] for each in (first, second)] == ["CLIENT", "CLIENT"]
    assert [each["parent"] for each in (first, second)] == [server["id"]] * 2
    assert {each["name"] for each in (first, second)} == {"chat first", "chat second"}
    assert (first["error.type"], first["status"]) == ("server_error", "ERROR")
    assert first["gen_ai.provider.name"] == "openai"
    assert [each[1:3] for each in sent] == [[trace, first["id"]], [trace, second["id"]]]
    assert not any("my words" in each or "hello again" in each for each in map(json.dumps, told))
    (line,) = [json.loads(each) for each in lines if '"request_id"' in each and "span" not in each]
    assert line["trace_id"] == trace


async def test_without_a_tracer_nothing_is_traced(acme: Any) -> None:
    """No span, no `trace_id`, and no `traceparent` goes up."""
    async with ScriptedProvider(openai.chat_answer()) as provider:
        up = {"kind": "openai", "api_key": "k", "base_url": f"{provider.url}/v1"}
        async with acme.running(providers={"up": up}, routing={}) as gateway:
            answer = await say(
                gateway, "up/m hi", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01"
            )
        assert "traceparent" not in provider.received[0].headers

    assert answer.status == 200
    assert not any("trace_id" in each for each in gateway.log_lines())


async def test_llm_gateway_stores(acme: Any) -> None:
    """The scheme of the database's URL chooses the store."""
    plugins = {"disabled": ["migrations"]}  # it has no SQL for this dialect
    async with acme.running(database={"url": "acme://x"}, plugins=plugins) as gateway:
        told = await calls(gateway)

    assert "store.opened" in told


async def test_llm_gateway_state_backends(acme: Any) -> None:
    """A plugin that needs shared state gets the chosen backend."""
    async with acme.running(state={"backend": "acme_pebbles"}) as gateway:
        url = f"{gateway.url}/acme/claims/nonce-1"
        first = await call(url, b"", key=gateway.api_key, method="POST")
        again = await call(url, b"", key=gateway.api_key, method="POST")

    assert (first.status, again.status) == (200, 409)


async def test_llm_gateway_ledgers(acme: Any) -> None:
    """An admitted request is recorded once, a failed one too; nothing is served unrecorded."""
    async with acme.running() as gateway:
        await say(gateway, "pair hi")
        await say(gateway, "acme/acme-closed hi")
        refused = await say(gateway, "unwritten hi")
        told = await calls(gateway)

    ends = [each for each in told if each.startswith("ledger.end")]
    assert told.count("ledger.begin pair") == 1
    assert ends == ["ledger.end 200 acme-2 13000", "ledger.end 503 None None"]
    assert (refused.status, refused.body[:24]) == (503, b"error ledger_unavailable")


async def test_llm_gateway_catalogs(acme: Any) -> None:
    """A catalogue's price becomes the cost of an answer; what it does not know has none."""
    async with acme.running() as gateway:
        known = await say(gateway, "pair hi")
        unknown = await say(gateway, "acme/acme-1 hi")
        page = await call(f"{gateway.metrics_url}/metrics")

    assert known.headers["x-gateway-cost"] == "0.000013"
    assert "x-gateway-cost" not in unknown.headers
    assert b'gateway_cost_usd_total{provider="acme",model="acme-2"} 1.3e-05' in page.body


async def test_llm_gateway_redactors(acme: Any) -> None:
    """Who keeps a text asks every redactor first."""
    async with acme.running() as gateway:
        answer = await call(f"{gateway.url}/acme/redact/Ada%20L")

    assert answer.body == b"A** L"


async def test_llm_gateway_secret_sources(acme: Any) -> None:
    """What the configuration refers to is asked of every source; nobody's is an error."""
    refers = {"acme": {"greeting": "${secret:acme-greeting}"}}
    async with acme.running(plugins=refers) as gateway:
        answer = await call(f"{gateway.url}/acme/greet/Ada%20L")
    with pytest.raises(AssertionError, match="no source knows the secret nobody-has-it"):
        async with acme.running(plugins={"acme": {"greeting": "${secret:nobody-has-it}"}}):
            pass

    assert answer.body == b"good day Ada L"


async def test_llm_gateway_tenant_data(acme: Any) -> None:
    """A stranger's kind of data is exported page by page and erased with the others."""
    path = "/admin/v1/tenants/ada"
    async with acme.running() as gateway:

        async def admin(tail: str, method: str = "GET", tenant: str = path) -> Reply:
            url, key = f"{gateway.url}{tenant}/{tail}", "admin-key-0123456789abcdef"
            return await call(url, {} if method == "POST" else None, key=key, method=method)

        manifest = (await admin("export")).json["kinds"]
        first, second = (
            (await admin("export/notes")).json,
            (await admin("export/notes?after=2")).json,
        )
        done = (await admin("erase", "POST")).json
        again = (await admin("erase", "POST")).json
        nobody = await admin("erase", "POST", "/admin/v1/tenants/nobody")

    assert {each["kind"]: each["records"] for each in manifest}["notes"] == 2
    assert (first, second["rows"], second["next"]) == (
        {"rows": [{"note": 1}], "next": "2"},
        [{"note": 2}],
        None,
    )
    assert (done["erased"]["notes"], done["failed"]) == (2, {})
    assert again["erased"]["notes"] == 2
    assert nobody.status == 404


async def test_llm_gateway_auditors(acme: Any) -> None:
    """A refused caller is told to the auditor."""
    async with acme.running() as gateway:
        await call(f"{gateway.url}/acme/line", b"pair hi", key="wrong-key")
        told = await calls(gateway)

    assert "audit auth.refused refused None" in told


async def test_llm_gateway_services(acme: Any) -> None:
    """A service is opened before the first request and closed after the last."""
    async with acme.running() as gateway:
        told = await calls(gateway)
    await asyncio.sleep(0)

    assert "service.opened" in told
    assert "acme: service.closed" in gateway.log_lines()


async def test_llm_gateway_endpoints(acme: Any) -> None:
    """A route demands its role; what is not declared is refused."""
    async with acme.running() as gateway:
        url = f"{gateway.url}/acme/calls"
        allowed = await call(url, key=gateway.api_key)
        nobody = await call(url)
        user = await call(f"{gateway.url}/acme/admin", key=gateway.api_key)
        admin = await call(f"{gateway.url}/acme/admin", key="admin-key-0123456789abcdef")
        unknown = await call(f"{gateway.url}/acme/other", key=gateway.api_key)
        wrong = await call(url, b"", key=gateway.api_key, method="POST")

    assert [each.status for each in (allowed, nobody, user, admin, unknown, wrong)] == [
        200,
        401,
        403,
        200,
        404,
        405,
    ]
