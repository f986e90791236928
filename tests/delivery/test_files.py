"""What can be seen in the files of the image and of the compose set without running them."""

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
DECLARED = re.compile(r'"(gateway_[a-z_]+)"')
USED = re.compile(r"\bgateway_[a-z_]+")


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.fixture
def stages(charts: Path) -> tuple[str, str]:
    text = (charts / "docker/Dockerfile").read_text().replace("\\\n", " ")
    _, build, final = text.split("\nFROM ")
    return build, final


def test_everything_foreign_in_the_image_is_pinned_by_its_hash(stages: tuple[str, str]) -> None:
    installs = re.findall(r"pip install (.*?)(?: &&|\n|$)", stages[0])
    assert installs
    for each in installs:
        assert "--require-hashes" in each or "--no-index --no-deps" in each, each


def test_the_final_stage_builds_nothing_and_serves_as_uid_1000(stages: tuple[str, str]) -> None:
    final = stages[1]
    assert not re.search(r"\b(pip|uv|apt-get|gcc)\b", final)
    assert "USER 1000:1000" in final and "EXPOSE 8080 9090" in final
    assert 'VOLUME ["/var/lib/llm-gateway"]' in final
    assert "/health/live" in final.split("HEALTHCHECK")[1]


def test_the_image_sends_no_test_and_no_secret_into_the_build(charts: Path) -> None:
    ignored = (charts / "docker/Dockerfile.dockerignore").read_text().splitlines()
    rules = [line for line in ignored if not line.startswith("#")]
    assert rules[0] == "*"
    for each in rules[1:]:
        assert not each.startswith("!") or (REPOSITORY / each[1:]).exists(), each


def test_every_file_that_the_compose_set_mounts_exists(charts: Path) -> None:
    services = load(charts / "docker/compose.yaml")["services"]
    assert services.keys() == {"gateway", "postgres", "redis", "prometheus", "grafana", "jaeger"}
    mounts = [each for service in services.values() for each in service.get("volumes", ())]
    sources = [each.split(":")[0] for each in mounts if each.startswith(".")]
    assert len(sources) == 5
    for source in sources:
        assert (charts / "docker" / source).exists(), source


def test_the_compose_set_hands_jaeger_the_endpoint_of_the_configuration(
    charts: Path, loads: Callable[..., str]
) -> None:
    gateway = load(charts / "docker/compose.yaml")["services"]["gateway"]
    endpoint = gateway["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert endpoint == "http://jaeger:4318"
    given = {name: gateway["environment"][name] for name in ("REDIS_URL",)}
    text = (charts / "docker/config.yaml").read_text()
    loads(
        text,
        "--strict",
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
        DATABASE_URL="postgresql://gateway:x@postgres:5432/gateway",
        **given,
    )


def test_the_compose_gateway_writes_to_its_data_directory_only(charts: Path) -> None:
    gateway = load(charts / "docker/compose.yaml")["services"]["gateway"]
    assert gateway["read_only"] is True and gateway["cap_drop"] == ["ALL"]
    writable = [each for each in gateway["volumes"] if not each.endswith(":ro")]
    assert writable == ["gateway-data:/var/lib/llm-gateway"]


def declared_metrics() -> set[str]:
    sources = [*REPOSITORY.glob("kernel/*/src/**/*.py"), *REPOSITORY.glob("plugins/*/src/**/*.py")]
    return {name for each in sources for name in DECLARED.findall(each.read_text())}


def base_name(series: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", series)


def dashboard_queries(charts: Path) -> list[str]:
    panels = json.loads((charts / "llm-gateway/files/dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def alert_queries(charts: Path) -> list[str]:
    groups = load(charts / "llm-gateway/files/alerts.yaml")["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def test_dashboard_and_alerts_ask_only_for_metrics_that_the_gateway_has(charts: Path) -> None:
    queries = dashboard_queries(charts) + alert_queries(charts)
    asked = {base_name(name) for query in queries for name in USED.findall(query)}
    assert asked and asked <= declared_metrics()


def test_the_dashboard_shows_every_metric_that_the_product_names(charts: Path) -> None:
    shown = {base_name(name) for query in dashboard_queries(charts) for name in USED.findall(query)}
    promised = """requests_total request_duration_seconds request_tokens_total
        provider_requests_total provider_errors_total provider_latency_seconds
        circuit_breaker_state retry_attempts_total rate_limit_exceeded_total cache_hits_total
        cache_misses_total cache_size_bytes time_to_first_token_seconds tokens_per_second
        requests_in_flight cost_usd_total fallbacks_total overhead_seconds"""
    assert {f"gateway_{each}" for each in promised.split()} <= shown


def test_prometheus_scrapes_the_metrics_port_of_the_compose_gateway(charts: Path) -> None:
    job = load(charts / "docker/prometheus.yaml")["scrape_configs"][0]
    assert job["static_configs"][0]["targets"] == ["gateway:9090"]
    down = next(each for each in alert_queries(charts) if each.startswith("up"))
    assert re.fullmatch(down.split('"')[1], job["job_name"])


def test_every_values_key_is_in_the_schema_and_mirrors_a_section_of_the_settings(
    charts: Path,
) -> None:
    values = load(charts / "llm-gateway/values.yaml")
    known = json.loads((charts / "llm-gateway/values.schema.json").read_text())["properties"]
    assert values.keys() <= known.keys()
    sections = load(REPOSITORY / "tests/product/config.yaml").keys()
    assert sections <= values.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_bill_of_materials_names_all_that_is_installed(charts: Path) -> None:
    """Each line of the lock and each package of this repository, without the kit for tests."""
    subprocess.run([charts / "release.sh", "bom"], check=True, capture_output=True)
    text = (REPOSITORY / "dist/llm-gateway.cdx.json").read_text()
    named = {each["name"].lower().replace("_", "-") for each in json.loads(text)["components"]}

    lock = (REPOSITORY / "requirements.lock").read_text()
    locked = re.findall(r"^([a-z0-9-]+)==[^; ]+ \\$", lock, re.M)  # on every system
    own = {
        tomllib.loads(path.read_text())["project"]["name"]
        for folder in ("kernel", "plugins", "contrib-providers", "migrations")
        for path in (REPOSITORY / folder).glob("**/pyproject.toml")
        if ".venv" not in path.parts
    }
    assert {*locked, *own} - named == {"llm-gateway-testkit"}
    assert str(REPOSITORY) not in text
