"""What the product promises, by its exact names: commands, flags, defaults, keys, variables, paths.

One table a promise; what is missing fails by its name. Every package of the repository is
installed here.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from llm_gateway.cli import cli
from llm_gateway_testkit.gateway import API_KEY, running_gateway
from llm_gateway_testkit.rawclient import call

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ADMIN = "admin-key-0123456789abcdef"
VARIABLES = {
    "OPENAI_API_KEY": "sk-test",
    "ANTHROPIC_API_KEY": "sk-ant-test",
    "AZURE_OPENAI_API_KEY": "azure-test",
    "AZURE_OPENAI_ENDPOINT": "https://example.openai.azure.com",
    "GEMINI_API_KEY": "gemini-test",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "aws-test",
    "SECRETS_ENCRYPTION_KEY": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    "LLM_GATEWAY_ADMIN_KEY": ADMIN,
    "DATABASE_URL": "postgresql://gateway@127.0.0.1:1/gateway",
    "REDIS_URL": "",
}

# A command and its flags, each with the default that its help shows (None: it shows none).
COMMANDS: dict[str, dict[str, str | None]] = {
    "start": {
        "-c, --config": None,
        "-p, --port": "8080",
        "-H, --host": "0.0.0.0",
        "--workers": None,
        "--metrics-port": "9090",
    },
    "health": {"--detailed": None, "--timeout": "10"},
    "models": {"-p, --provider": None, "--capabilities": None},
    "chat": {
        "-m, --model": "gpt-4o",
        "-s, --system": None,
        "--stream": None,
        "--temperature": "0.7",
        "--max-tokens": None,
    },
    "latency": {
        "-p, --provider": None,
        "-m, --model": None,
        "-w, --window": "1h",
        "--percentiles": None,
    },
    "cost": {
        "-p, --provider": None,
        "-m, --model": None,
        "-t, --tenant": None,
        "-w, --window": "24h",
        "-g, --group-by": None,
        "--breakdown": None,
    },
    "token-usage": {
        "-p, --provider": None,
        "-m, --model": None,
        "-t, --tenant": None,
        "-w, --window": "24h",
        "-g, --group-by": None,
        "--detailed": None,
    },
    "backend-health": {
        "-p, --provider": None,
        "--unhealthy-only": None,
        "--history": None,
        "-w, --watch": None,
        "--interval": "5",
    },
    "routing-strategy show": {},
    "routing-strategy rules": {},
    "routing-strategy weights": {},
    "routing-strategy stats": {},
    "routing-strategy test": {"--model": None, "--tenant": None},
    "cache-status stats": {"--detailed": None},
    "cache-status list": {"--model": None, "--limit": None},
    "cache-status clear": {"--older-than": None, "--model": None, "--force": None},
    "cache-status config": {},
    "config show": {},
    "config validate": {},
    "config generate": {},
    "config schema": {},
    "validate": {"--strict": None},
    "info": {"--detailed": None},
    "migrate run": {},
    "migrate status": {},
    "migrate create": {},
    "migrate revert": {"--steps": "1"},
    "completions": {},
    "plugins list": {},
    "plugins show": {},
    "plugins check": {},
    "plugins new": {},
    "keys create": {},
    "keys list": {},
    "keys rotate": {},
    "keys revoke": {},
    "tenants create": {},
    "tenants list": {},
    "budgets list": {},
    "secrets set": {},
    "secrets list": {},
    "secrets rotate": {},
    "secrets delete": {},
    "audit verify": {},
    "audit tail": {},
    "audit search": {},
    "audit export": {},
}
GLOBAL_FLAGS = (
    "-v, --verbose",
    "--json",
    "-u, --url",
    "-k, --api-key",
    "-h, --help",
    "-V, --version",
)

ROUTES = [
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/rerank"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/simulated"),
    ("GET", "/health"),
    ("GET", "/health?detailed=true"),
    ("GET", "/health/live"),
    ("GET", "/health/ready"),
    ("GET", "/openapi.json"),
    ("GET", "/dashboard"),
    ("GET", "/dashboard/login"),
]
METRICS: dict[str, set[str]] = {
    "gateway_requests_total": {"status", "provider", "model"},
    "gateway_request_duration_seconds": set(),
    "gateway_request_tokens_total": {"direction", "provider", "model"},
    "gateway_provider_requests_total": {"provider"},
    "gateway_provider_errors_total": {"provider", "class"},
    "gateway_provider_latency_seconds": {"provider"},
    "gateway_circuit_breaker_state": {"provider", "model"},
    "gateway_retry_attempts_total": {"provider"},
    "gateway_rate_limit_exceeded_total": {"scope"},
    "gateway_cache_hits_total": set(),
    "gateway_cache_misses_total": set(),
    "gateway_cache_size_bytes": set(),
}
LINE = {
    "timestamp",
    "level",
    "target",
    "message",
    "request_id",
    "provider",
    "model",
    "latency_ms",
    "tokens",
    "status",
}


def command_of(words: str) -> click.Command:
    """The command that `words` call."""
    found: click.Command = cli
    for word in words.split():
        assert isinstance(found, click.Group), f"{words}: nothing below {found.name}"
        _, inner, _ = found.resolve_command(click.Context(found), [word])
        assert inner is not None, f"there is no command {words}"
        found = inner
    return found


def flags_of(command: click.Command) -> dict[str, click.Option]:
    options = [each for each in command.get_params(click.Context(command)) if each.opts]
    return {name: each for each in options for name in each.opts}  # type: ignore[misc]  # options


@pytest.mark.parametrize("words", COMMANDS)
def test_each_command_has_its_flags_and_defaults(words: str) -> None:
    flags = flags_of(command_of(words))
    for names, default in COMMANDS[words].items():
        for name in names.split(", "):
            assert name in flags, f"{words} lacks {name}"
            if default is not None:
                value = flags[name].default
                whole = int(value) if isinstance(value, float) and value.is_integer() else value
                shown = (str(whole), flags[name].help or "")
                assert default == shown[0] or f"[{default}]" in shown[1], f"{words} {name}"


@pytest.mark.parametrize("words", COMMANDS)
def test_each_command_has_help(words: str) -> None:
    done = CliRunner().invoke(cli, [*words.split(), "--help"])

    assert done.exit_code == 0, done.output


def test_the_global_flags() -> None:
    flags = flags_of(cli)

    assert {name for names in GLOBAL_FLAGS for name in names.split(", ")} <= set(flags)


def test_the_configuration_loads_as_it_stands(tmp_path: Path) -> None:
    """Every section and key, with its variables set."""
    done = subprocess.run(
        [sys.executable, "-m", "llm_gateway", "--json", "validate", str(HERE / "config.yaml")],
        env={**os.environ, **VARIABLES, "LLM_GATEWAY_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert json.loads(done.stdout)["problems"] == [], done.stderr
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "SECRETS_ENCRYPTION_KEY", "DATABASE_URL"])
def test_a_missing_variable_is_named(tmp_path: Path, name: str) -> None:
    """A part that is on and whose variable is not set."""
    env = {key: value for key, value in {**os.environ, **VARIABLES}.items() if key != name}
    done = subprocess.run(
        [sys.executable, "-m", "llm_gateway", "validate", str(HERE / "config.yaml")],
        env={**env, "LLM_GATEWAY_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert name in done.stdout + done.stderr


async def test_each_route_is_there() -> None:
    """A wrong body is a wrong body, and not an unknown path."""
    async with running_gateway({"providers": {"sim": {"kind": "simulated"}}}) as gateway:
        found = {}
        for method, path in ROUTES:
            body: Any = {} if method == "POST" else None
            answer = await call(f"{gateway.url}{path}", body, key=API_KEY, method=method)
            found[f"{method} {path}"] = answer.status
            assert answer.headers["x-request-id"]
        page = await call(f"{gateway.metrics_url}/metrics")

    assert {route for route, status in found.items() if status in (404, 405)} == set()
    assert page.status == 200


async def test_each_metric_is_there_after_its_first_event() -> None:
    config = {
        "providers": {"sim": {"kind": "simulated"}},
        "cache": {"backend": "memory"},
        "security": {"rate_limit": {"requests_per_minute": 60, "burst_size": 3}},
    }
    body: dict[str, Any] = {"model": "simulated", "messages": [{"role": "user", "content": "a"}]}
    broken = {**body, "messages": [{"role": "user", "content": "simulate:error=503"}]}
    async with running_gateway(config) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        for each in (body, body, broken, body, body):
            answer = await call(url, each, key=API_KEY)
        page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()
    lines = [each for each in gateway.log_lines() if each.startswith("{")]

    assert answer.status == 429
    declared = set(re.findall(r"^# TYPE (\S+)", page, re.MULTILINE))
    for name, labels in METRICS.items():
        bare = name.removesuffix("_total")
        assert {name, bare} & declared, f"{name} is not on the page"
        for line in re.findall(rf"^{name}(?:_bucket|_sum|_count)?{{(.*)}} ", page, re.MULTILINE):
            assert set(re.findall(r"(\w+)=", line)) - {"le"} == labels, name
    assert set(json.loads(lines[0])) >= LINE


def test_the_configuration_here_is_the_one_in_the_guide() -> None:
    """Each section of it is described in the generated reference of settings."""
    data = yaml.safe_load((HERE / "config.yaml").read_text())
    text = (ROOT / "kernel/gateway/docs/settings.md").read_text()

    assert [name for name in data if name not in text] == []
