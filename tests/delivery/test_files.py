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
USED = re.compile(r"\bgateway_[a-z_]+")
# Documented metrics that no panel shows: of plugins that wait for their configuration, or finer
# than what a panel asks for.
NO_PANEL = set(
    """gateway_audit_log_records_total gateway_cache_memory_refused_total
    gateway_cache_redis_breaker_open gateway_cache_redis_refused_total
    gateway_cache_redis_skipped_total gateway_cache_semantic_breaker_open
    gateway_deployment_attempts_total gateway_deployment_seconds_total
    gateway_filter_guardrail_failures_total gateway_filter_identity_keys
    gateway_filter_load_shedding_refused_total gateway_guard_adaptive_concurrency_limit
    gateway_guard_adaptive_concurrency_refused_total gateway_ledger_store_shipped_total
    gateway_limit_budget_webhook_errors_total
    gateway_policy_hedging_withheld_total gateway_secrets_store_old_key
    gateway_secrets_store_rotated_total gateway_secrets_vault_renewal_failures_total
    gateway_secrets_vault_token_seconds""".split()  # noqa: SIM905 - twenty lines otherwise
)


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


def documented_metrics() -> set[str]:
    """Those of the kernel's page and of the packages' READMEs."""
    texts = [(REPOSITORY / "kernel/gateway/docs/metrics.md").read_text()]
    for folder in ("plugins", "contrib-providers"):
        for each in REPOSITORY.glob(f"{folder}/*/README.md"):
            texts += re.findall(r"^\*\*Metrics\*\*.*?(?=\n\n|\Z)", each.read_text(), re.M | re.S)
    return {name for text in texts for name in re.findall(r"`(gateway_[a-z_]+[a-z])\b", text)}


def base_name(series: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", series)


def dashboard(charts: Path) -> Any:
    return json.loads((charts / "llm-gateway/files/dashboard.json").read_text())


def dashboard_queries(charts: Path) -> list[str]:
    panels = dashboard(charts)["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


def alert_queries(charts: Path) -> list[str]:
    groups = load(charts / "llm-gateway/files/alerts.yaml")["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def test_dashboard_and_alerts_ask_only_for_metrics_that_the_gateway_has(charts: Path) -> None:
    queries = dashboard_queries(charts) + alert_queries(charts)
    asked = {base_name(name) for query in queries for name in USED.findall(query)}
    assert asked and asked <= documented_metrics()


def test_every_documented_metric_has_a_panel_or_is_known_to_have_none(charts: Path) -> None:
    shown = {base_name(name) for query in dashboard_queries(charts) for name in USED.findall(query)}
    documented = documented_metrics() - {"gateway_provider"}  # the beginning of several
    assert documented - shown - NO_PANEL == set(), "has no panel"
    assert NO_PANEL - documented | NO_PANEL & shown == set(), "is not without one any more"


def test_the_dashboard_is_one_that_grafana_provisions(charts: Path) -> None:
    """Its panels have ids of their own, places that do not overlap in 24 columns, and the data
    source that the page's variable names; a legend has only labels that its query keeps."""
    found = dashboard(charts)
    (variable,) = found["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    source = {"type": "prometheus", "uid": f"${{{variable['name']}}}"}
    panels = found["panels"]
    assert len({each["id"] for each in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["type"] in ("row", "timeseries")
        if panel["type"] == "timeseries":
            assert panel["datasource"] == source and panel["targets"], panel["title"]
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(letters)) == len(letters)
        for target in panel.get("targets", ()):
            kept = re.findall(r"by \(([^)]*)\)", target["expr"])
            labels = {name.strip() for group in kept for name in group.split(",")}
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) == labels - {"le"}


def test_the_compose_set_provisions_dashboard_and_data_sources(charts: Path) -> None:
    services = load(charts / "docker/compose.yaml")["services"]
    (provider,) = load(charts / "docker/grafana/dashboards/llm-gateway.yaml")["providers"]
    mounted = [each.split(":") for each in services["grafana"]["volumes"]]
    dashboards = [into for source, into, *_ in mounted if source.endswith("dashboard.json")]
    assert [str(Path(each).parent) for each in dashboards] == [provider["options"]["path"]]
    sources = load(charts / "docker/grafana/datasources/prometheus.yaml")["datasources"]
    for each in sources:
        assert each["type"] in services and each["url"].startswith(f"http://{each['type']}:")
    assert [each["type"] for each in sources if each.get("isDefault")] == ["prometheus"]


def test_foreign_images_of_the_compose_set_have_their_versions(charts: Path) -> None:
    services = load(charts / "docker/compose.yaml")["services"]
    for name, service in services.items():
        if "build" not in service:
            assert re.search(r":v?\d+(\.\d+)*(-alpine)?$", service["image"]), name


def test_the_dashboard_shows_every_metric_that_the_product_names(charts: Path) -> None:
    shown = {base_name(name) for query in dashboard_queries(charts) for name in USED.findall(query)}
    promised = """requests_total request_duration_seconds request_tokens_total
        provider_requests_total provider_errors_total provider_latency_seconds
        circuit_breaker_state retry_attempts_total rate_limit_exceeded_total cache_hits_total
        cache_misses_total cache_size_bytes time_to_first_token_seconds tokens_per_second
        requests_in_flight streams_open guard_bulkhead_queue_depth cost_usd_total fallbacks_total
        overhead_seconds"""
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
