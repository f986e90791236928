"""What is measured: one `Scenario` is one client request under one configuration.

A new row is one more entry of `SCENARIOS`. A vendor's answer that the mock does not know
yet is one more entry of `answers.ANSWERS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KEY = "bench-key-0123456789abcdef"
ADMIN_KEY = "bench-admin-0123456789abcdef"
MOCK = "http://127.0.0.1:{mock}"  # filled in when the mock has its port
REDIS = "redis://{redis}"  # likewise; a server is started when a scenario names it
POSTGRES = "postgresql://{postgres}"

# What takes part unless a scenario says otherwise; other installed plugins are disabled.
CORE = frozenset(
    {
        "filter_auth",
        "frontend_openai",
        "provider_openai",
        "routing_basic",
        "telemetry_prometheus",
    }
)
# Keys, rules, metrics, log line and usage counts are on in every scenario.
BASE: Mapping[str, Any] = {
    "providers": {
        "bench": {"kind": "openai", "api_key": "sk-bench", "base_url": f"{MOCK}/v1"},
        "other": {"kind": "openai", "api_key": "sk-bench", "base_url": f"{MOCK}/v1"},
    },
    "routing": {
        "default_provider": "bench",
        "rules": [
            {"name": "other", "condition": "model starts_with 'other'", "target_provider": "other"},
            {"name": "bench", "condition": "model starts_with 'gpt'", "target_provider": "bench"},
        ],
    },
    "security": {"auth": {"api_keys": [KEY]}},
}
MANY_MODELS: Mapping[str, Any] = {
    "providers": {"bench": {"models": [f"gpt-{number}" for number in range(2000)]}}
}


def chat(
    stream: bool = False, model: str = "gpt-bench", text: str = "word " * 250
) -> dict[str, Any]:
    """A request of about 1.5 KB, as a client sends it."""
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": text},
    ]
    extra: dict[str, Any] = {"stream": True} if stream else {"temperature": 0.5}
    return {"model": model, "messages": messages, **extra}


# Every vendor on the translate lane: what a provider could relay is decoded all the same.
AGAIN = "/again"
TRANSLATING: Mapping[str, Any] = {
    "providers": {
        "decoded": {
            "kind": "openai",
            "api_key": "sk-bench",
            "base_url": f"{MOCK}/v1",
            "quirks": {"relay": False},
        },
        "anthropic": {"api_key": "sk-bench", "base_url": MOCK},
        "gemini": {"api_key": "sk-bench", "base_url": MOCK},
        "bedrock": {
            "region": "us-east-1",
            "access_key_id": "AKIDEXAMPLE",
            "secret_access_key": "bench",
            "base_url": MOCK,
        },
        "cohere": {"api_key": "sk-bench", "base_url": MOCK},
        "mistral": {"api_key": "sk-bench", "base_url": f"{MOCK}/mistral/v1"},
        "together": {"api_key": "sk-bench", "base_url": f"{MOCK}/together/v1"},
    }
}
TRANSLATORS = CORE | {
    "provider_anthropic",
    "provider_gemini",
    "provider_bedrock",
    "provider_cohere",
    "provider_mistral",
    "provider_together",
}
# The model by which a vendor is asked, and the path at which it streams.
VENDORS: Mapping[str, tuple[str, str]] = {
    "openai": ("decoded/some", "/v1/chat/completions"),
    "anthropic": ("anthropic/claude-bench", "/v1/messages"),
    "gemini": (
        "gemini/gemini-3.5-flash",
        "/v1beta/models/gemini-3.5-flash:streamGenerateContent?alt=sse",
    ),
    "bedrock": ("bedrock/bench", "/model/bench/converse-stream"),
    "cohere": ("cohere/bench", "/v2/chat"),
    "mistral": ("mistral/bench", "/mistral/v1/chat/completions"),
    "together": ("together/bench", "/together/v1/chat/completions"),
}


@dataclass(frozen=True)
class Scenario:
    """CPU time of `request` in a closed loop, compared with the bare relay's.

    `relayed` is what the relay is asked at `relayed_path`: the same work without a gateway.
    With `own_lane`, the yardstick is the gateway itself, relaying `relayed`. `config` is merged
    into `BASE` and `plugins` take part (None: every one installed); scenarios that have both in
    common share a gateway. `target` is the ratio to the yardstick that is wanted. With `stored`
    the caller's key is one of `TENANT`, made for this gateway. `job` is more for `load.py`.
    """

    name: str
    request: Mapping[str, Any]
    relayed: Mapping[str, Any]
    total: int
    target: float | None = None
    path: str = "/v1/chat/completions"
    config: Mapping[str, Any] = field(default_factory=dict)
    plugins: frozenset[str] | None = CORE
    relayed_path: str = "/v1/chat/completions"
    own_lane: bool = False
    stored: bool = False
    job: Mapping[str, Any] = field(default_factory=dict)


def translated(vendor: str) -> tuple[Scenario, Scenario]:
    """Against the gateway's relay lane, and a stream against a bare decode-and-encode loop."""
    model, path = VENDORS[vendor]
    return (
        Scenario(
            f"translate {vendor}",
            chat(model=model),
            chat(),
            1500,
            target=2.0,
            config=TRANSLATING,
            plugins=TRANSLATORS,
            own_lane=True,
        ),
        Scenario(
            f"translate {vendor}, stream of 50 events",
            chat(True, model),
            chat(True),
            400,
            target=2.0,
            config=TRANSLATING,
            plugins=TRANSLATORS,
            relayed_path=AGAIN + path,
        ),
    )


# A tenant with a key, limits and a budget in the store, a price, and a record of each request.
ACCOUNTED = CORE | {
    "catalog_models",
    "filter_identity",
    "ledger_store",
    "limit_budget",
    "limit_rate",
    "migrations",
    "state_host",
    "state_redis",
    "store_sqlite",
}
# The same as one of many hosts.
FLEET = ACCOUNTED - {"store_sqlite"} | {
    "audit_log",
    "guard_circuit_breaker",
    "guard_provider_limits",
    "routing_health",
    "store_postgres",
}
LIMIT = 1_000_000_000  # that nobody reaches
TENANT: Mapping[str, Any] = {
    "id": "bench",
    "limits": {
        "requests_per_minute": LIMIT,
        "tokens_per_minute": LIMIT,
        "max_concurrent": 1000,
    },
}
BUDGET: Mapping[str, Any] = {"amount_usd": 1_000_000, "period": "month"}


ON_SERVERS: Mapping[str, Any] = {
    "security": {"auth": {"admin_key": ADMIN_KEY}},
    "state": {"backend": "redis", "redis_url": REDIS},
    "database": {"url": POSTGRES},
    "providers": {"bench": {"rate_limit": {"requests_per_minute": LIMIT}}},
    "routing": {"health_check_interval_seconds": 0},  # probes are reckoned apart
}


def accounted(name: str, target: float | None, **state: str) -> Scenario:
    """Everything that is counted for a tenant, shared state in `state`."""
    asked = chat(model="gpt-4o-mini")
    return Scenario(
        f"plain, stored keys, limits, budget and ledger: {name}",
        asked,
        asked,
        3000,
        target,
        config={"security": {"auth": {"admin_key": ADMIN_KEY}}, "state": state},
        plugins=ACCOUNTED,
        stored=True,
    )


LISTS: Mapping[str, Any] = {
    "ip_filter": {
        "enabled": True,
        "whitelist": ["127.0.0.0/8", *(f"10.{number}.0.0/16" for number in range(250))],
    }
}
VALIDATION: Mapping[str, Any] = {
    "validation": {"max_messages": 1000, "control_characters": "clean"}
}
FILTERS: tuple[tuple[str, Mapping[str, Any], frozenset[str]], ...] = (
    ("address filter", {"security": LISTS}, frozenset({"filter_ip"})),
    ("header filter", {}, frozenset({"filter_headers"})),
    ("validation", {"security": VALIDATION}, frozenset({"filter_validation"})),
    (
        "address, header filter and validation",
        {"security": {**LISTS, **VALIDATION}},
        frozenset({"filter_ip", "filter_headers", "filter_validation"}),
    ),
    ("audit log", {}, frozenset({"audit_log", "migrations", "store_sqlite"})),
)
SIGNED = ("bench-secret-0123456789abcdef-0123", "bench")
SIGNING: Mapping[str, Any] = {
    "request_signing": {"enabled": True, "secrets": {SIGNED[1]: SIGNED[0]}}
}
GUARDRAIL: Mapping[str, Any] = {
    "filter_guardrail": {
        "rules": [
            {"name": "words", "deny": [f"forbidden {number}" for number in range(100)]},
            {"name": "codes", "patterns": [rf"PRJ{number}-[0-9]+" for number in range(5)]},
        ]
    }
}
# 2 KB of prose with an address, a card and a telephone number in it.
PERSONAL = ("word " * 420)[:2000] + "ada@example.org 4111 1111 1111 1111 +49 30 901820"
REVERSIBLE = dict.fromkeys(("email", "card", "phone"), "reversible")
PII: Mapping[str, Mapping[str, Any]] = {
    "left alone": {},
    "counted": {"filter_pii": {"mode": "monitor"}},
    "masked": {"filter_pii": {"kinds": {"email": "mask"}}},
    "masked and put back": {"filter_pii": {"kinds": REVERSIBLE}},
}
NUMBERED = "#0000000000 " + "word " * 248


def content() -> tuple[Scenario, ...]:
    """Filters that read what is said: with them a body is decoded and written, not relayed."""
    said = chat(text=PERSONAL)
    signed: dict[str, Any] = {"job": {"signed": SIGNED}}
    whole = {**PII["masked and put back"], **GUARDRAIL}
    everything = {"security": {**LISTS, **VALIDATION, **SIGNING}, "plugins": whole}
    audited = CORE | {"audit_log", "migrations", "store_sqlite"}
    signing = CORE | {"filter_signing", "state_host"}
    watched = CORE | {"filter_guardrail"}
    recorded = {"plugins": {"audit_log": {"content": True}}}
    every = audited | signing | watched | {"filter_pii"}
    every |= {"filter_headers", "filter_ip", "filter_validation"}
    return (
        *(
            Scenario(
                f"2 KB, personal data {name}",
                said,
                said,
                2000,
                config={"plugins": each},
                plugins=CORE | {"filter_pii"},
            )
            for name, each in PII.items()
        ),
        Scenario(
            "plain, guardrail", chat(), chat(), 2000, config={"plugins": GUARDRAIL}, plugins=watched
        ),
        Scenario(
            "plain, audit log with contents", chat(), chat(), 1500, config=recorded, plugins=audited
        ),
        Scenario(
            "plain, signing",
            chat(),
            chat(),
            2000,
            config={"security": SIGNING},
            plugins=signing,
            **signed,
        ),
        Scenario(
            "2 KB, all of these filters at once",
            said,
            said,
            1500,
            config=everything,
            plugins=every,
            **signed,
        ),
    )


def cached(name: str, plugin: str, **cache: Any) -> tuple[Scenario, ...]:
    """The same question again and again, plain and streamed, and one that is always another."""
    given: dict[str, Any] = {"config": {"cache": cache}, "plugins": CORE | {plugin}}
    unlike = chat(text=NUMBERED)
    return (
        Scenario(f"{name}, hit", chat(), chat(), 3000, **given),
        Scenario(f"{name}, hit, stream of 50 events", chat(True), chat(True), 1000, **given),
        Scenario(f"{name}, miss", unlike, unlike, 2000, job={"unlike": True}, **given),
    )


SCENARIOS = (
    Scenario("plain", chat(), chat(), 3000, target=0.8),
    Scenario("stream of 50 events", chat(True), chat(True), 600, target=1.0),
    Scenario(
        "stream of 50 events, a read each",
        chat(True, "gpt-gap-2"),
        chat(True, "gpt-gap-2"),
        300,
        target=1.0,
    ),
    *(
        Scenario(f"plain, {name}", chat(), chat(), 3000, config=each, plugins=CORE | plugins)
        for name, each, plugins in FILTERS
    ),
    *content(),
    *cached("cache in memory", "cache_memory", backend="memory", max_size_mb=64),
    *cached("cache in Redis", "cache_redis", backend="redis", redis={"url": REDIS}),
    Scenario("plain, every installed plugin on", chat(), chat(), 3000, plugins=None),
    accounted("process", 0.9, backend="process"),
    accounted("host", 0.9, backend="host"),
    accounted("redis", None, backend="redis", redis_url=REDIS),
    *(each for vendor in VENDORS for each in translated(vendor)),
)

# Measured with one worker and with two as well.
SCALED = frozenset({"plain", "plain, stored keys, limits, budget and ledger: host"})


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` laid on `base`, mappings joined."""
    joined = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(joined.get(key), Mapping)
        joined[key] = merged(joined[key], value) if both else value
    return joined
