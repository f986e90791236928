"""The chart, rendered and linted by Helm itself; run with -m slow and the group `delivery`."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from llm_gateway.sections import Server
from llm_gateway.supervisor import STOP_SECONDS

pytestmark = pytest.mark.slow

Document = dict[str, Any]
Render = Callable[..., list[Document]]
URLS = {
    "DATABASE_URL": "postgresql://gateway:x@postgres/gateway",
    "REDIS_URL": "redis://redis:6379/0",
}
SHARED = {"secrets": {"databaseUrl": URLS["DATABASE_URL"], "redisUrl": URLS["REDIS_URL"]}}
EVERYTHING: Document = {
    **SHARED,
    "providers": {
        "openai": {"apiKey": "sk-test", "timeout_seconds": 45},
        "azure_openai": {"endpoint": "https://example.openai.azure.com"},
        "bedrock": {"region": "us-east-1"},
        "local": {"kind": "openai", "api_key": "none", "base_url": "http://vllm:8000/v1"},
    },
    "autoscaling": {"enabled": True, "inFlight": {"enabled": True}},
    "ingress": {"enabled": True, "className": "nginx", "hosts": [{"host": "llm.example.com"}]},
    "gatewayApi": {"enabled": True, "parentRefs": [{"name": "public"}]},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True},
    "dashboard": {"enabled": True},
    "telemetry": {"tracing": {"enabled": True, "otlp_endpoint": "http://jaeger:4318"}},
}


def production(charts: Path) -> Document:
    values: Document = yaml.safe_load((charts / "llm-gateway/values-production.yaml").read_text())
    return values


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [each for each in documents if each["kind"] == kind]


def container(documents: list[Document]) -> Document:
    (deployment,) = of_kind(documents, "Deployment")
    (only,) = deployment["spec"]["template"]["spec"]["containers"]
    found: Document = only
    return found


def key_of(documents: list[Document], variable: str) -> tuple[str, str]:
    """The Secret and its entry that a variable of the gateway comes from."""
    (found,) = [each for each in container(documents)["env"] if each["name"] == variable]
    reference = found["valueFrom"]["secretKeyRef"]
    return reference["name"], reference["key"]


def configuration(documents: list[Document]) -> str:
    maps = of_kind(documents, "ConfigMap")
    (text,) = [each["data"]["config.yaml"] for each in maps if "config.yaml" in each["data"]]
    found: str = text
    return found


@pytest.mark.parametrize("values", [{}, SHARED, EVERYTHING, {"workers": 4}, "production"])
def test_helm_finds_nothing_to_say_and_kubernetes_takes_every_document(
    values: Any, charts: Path, helm: Any, render: Render, accepted: Any
) -> None:
    given = production(charts) if values == "production" else values
    report = helm.lint(charts / "llm-gateway", given, strict=True)
    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] > 1] == []
    accepted(render(given))


def test_every_kind_of_object_is_there_when_all_is_on(render: Render) -> None:
    kinds = {each["kind"] for each in render(EVERYTHING)}
    assert kinds == {
        "ConfigMap", "Deployment", "HorizontalPodAutoscaler", "HTTPRoute", "Ingress", "Job",
        "NetworkPolicy", "PodDisruptionBudget", "PrometheusRule", "Secret", "Service",
        "ServiceAccount", "ServiceMonitor",
    }  # fmt: skip


@pytest.mark.parametrize(
    "provider, entry, variable",
    [
        ("openai", "openai-api-key", "OPENAI_API_KEY"),
        ("anthropic", "anthropic-api-key", "ANTHROPIC_API_KEY"),
        ("azure_openai", "azure-openai-api-key", "AZURE_OPENAI_API_KEY"),
        ("gemini", "gemini-api-key", "GEMINI_API_KEY"),
        ("bedrock", "bedrock-api-key", "AWS_BEARER_TOKEN_BEDROCK"),
        ("cohere", "cohere-api-key", "COHERE_API_KEY"),
        ("together", "together-api-key", "TOGETHER_API_KEY"),
        ("mistral", "mistral-api-key", "MISTRAL_API_KEY"),
    ],
)
def test_a_key_comes_from_the_values_or_from_llm_provider_secrets(
    provider: str, entry: str, variable: str, helm: Any, render: Render
) -> None:
    assert key_of(render(), variable) == ("llm-provider-secrets", entry)
    documents = render(helm.parse_set_string(f"providers.{provider}.apiKey=sk-given"))
    assert key_of(documents, variable) == ("llm-gateway-providers", entry)
    data = [each["stringData"] for each in of_kind(documents, "Secret")]
    assert {entry: "sk-given"} in data
    assert "sk-given" not in yaml.safe_dump(
        [each for each in documents if each["kind"] != "Secret"]
    )


def test_the_rendered_configuration_is_what_the_gateway_takes(render: Render, loads: Any) -> None:
    loads(configuration(render()), "--strict")
    loads(configuration(render(SHARED)), "--strict", **URLS)
    text = configuration(render(EVERYTHING))
    said = loads(text, **URLS, OPENAI_API_KEY="sk-x", AZURE_OPENAI_API_KEY="a")
    assert "openai is off" not in said and "mistral is off" in said
    assert yaml.safe_load(text)["providers"]["openai"] == {
        "api_key": "${OPENAI_API_KEY:-}",
        "timeout_seconds": 45,
    }


def test_the_rendered_production_configuration_is_what_the_gateway_takes(
    charts: Path, render: Render, loads: Any
) -> None:
    loads(configuration(render(production(charts))), "--strict", **URLS)


def test_ports_probes_and_user_are_those_of_the_image(render: Render) -> None:
    documents = render()
    pod = of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == 1000
    gateway = container(documents)
    assert {each["containerPort"] for each in gateway["ports"]} == {8080, 9090}
    assert gateway["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert gateway["securityContext"]["readOnlyRootFilesystem"] is True
    writable = [each for each in gateway["volumeMounts"] if not each.get("readOnly")]
    assert [each["mountPath"] for each in writable] == ["/var/lib/llm-gateway"]


def test_a_pod_may_drain_before_it_is_killed(render: Render) -> None:
    documents = render({"server": {"drain_seconds": 100}, "preStopSeconds": 7})
    pod = of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 107


def test_one_worker_is_a_plain_process(render: Render) -> None:
    gateway = container(render())
    assert gateway["args"] == ["start", "--config", "/etc/llm-gateway/config.yaml"]
    assert gateway["resources"] == {
        "requests": {"cpu": "500m", "memory": "256Mi"},
        "limits": {"memory": "1Gi"},
    }


def test_a_pod_of_several_workers_asks_for_the_room_and_the_time_of_all(render: Render) -> None:
    """A core's share and memory for each, and at the end what their supervisor waits for them."""
    values = {**EVERYTHING, "workers": 4, "resources": {"limits": {"cpu": "4"}}}
    documents = render(values)
    gateway = container(documents)
    assert gateway["args"][-2:] == ["--workers", "4"]
    assert gateway["resources"] == {
        "requests": {"cpu": "2000m", "memory": "1024Mi"},
        "limits": {"cpu": "4", "memory": "4Gi"},
    }
    pod = of_kind(documents, "Deployment")[0]["spec"]["template"]["spec"]
    defaults = Server()
    assert pod["terminationGracePeriodSeconds"] > defaults.drain_seconds + 5 + STOP_SECONDS
    (scaler,) = of_kind(documents, "HorizontalPodAutoscaler")
    assert scaler["spec"]["metrics"][1]["pods"]["target"]["averageValue"] == "1200"


def test_tables_are_migrated_before_pods_that_do_not_migrate_themselves(render: Render) -> None:
    documents = render(SHARED)
    (job,) = of_kind(documents, "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["migrate", "run"]
    assert yaml.safe_load(configuration(documents))["database"]["auto_migrate"] is False
    alone = render({**SHARED, "migration": {"enabled": False}})
    assert of_kind(alone, "Job") == []
    assert "auto_migrate" not in configuration(alone)


def test_scaling_looks_at_cpu_and_at_requests_in_flight(render: Render) -> None:
    (scaler,) = of_kind(render(EVERYTHING), "HorizontalPodAutoscaler")
    cpu, in_flight = scaler["spec"]["metrics"]
    assert cpu["resource"]["name"] == "cpu"
    assert in_flight["pods"]["metric"]["name"] == "gateway_requests_in_flight"
    assert "replicas" not in of_kind(render(EVERYTHING), "Deployment")[0]["spec"]


@pytest.mark.parametrize(
    "values, told",
    [
        ({"replicaCount": 2}, "secrets.databaseUrl"),
        ({**SHARED, "replicaCount": 2, "persistence": {"enabled": True}}, "ReadWriteOnce"),
        ({"workers": 17}, "workers"),
        ({"workers": 0}, "workers"),
        (
            {"workers": 2, "persistence": {"enabled": True, "accessMode": "ReadWriteMany"}},
            "workers=1",
        ),
        ({"autoscalling": {"enabled": True}}, "autoscalling"),
        ({"providers": {"openai": {"api_key": "sk-plain"}}}, "openai"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"ingress": {"enabled": True}}, "ingress.hosts"),
        ({"gatewayApi": {"enabled": True}}, "gatewayApi.parentRefs"),
    ],
)
def test_values_that_cannot_work_are_refused_by_name(
    values: Document, told: str, helm: Any, render: Render
) -> None:
    with pytest.raises(helm.HelmError, match=told):
        render(values)


def test_the_release_is_named_once_only(render: Render) -> None:
    def name(release: str) -> str:
        found: str = of_kind(render(name=release), "Service")[0]["metadata"]["name"]
        return found

    assert name("llm-gateway") == "llm-gateway"
    assert name("team") == "team-llm-gateway"


def test_the_packaged_chart_is_in_an_index_by_its_digest(
    charts: Path, tmp_path: Path, helm: Any
) -> None:
    command = [sys.executable, str(charts / "package.py"), str(tmp_path), "https://example.com/"]
    subprocess.run(command, check=True, timeout=60)
    (archive,) = tmp_path.glob("*.tgz")
    (entry,) = yaml.safe_load((tmp_path / "index.yaml").read_text())["entries"]["llm-gateway"]
    assert entry["digest"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert entry["urls"] == [f"https://example.com/{archive.name}"]
    with helm.Chart.load_archive(archive.read_bytes()) as chart:
        assert (chart.name, chart.version) == ("llm-gateway", entry["version"])
