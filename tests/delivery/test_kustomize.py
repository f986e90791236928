"""The overlays, built by kubectl; run with -m slow and the group `delivery`."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Documents = list[dict[str, Any]]
OVERLAYS = ["development", "production", "two-region/us", "two-region/eu"]
FOLDERS = [".", *(f"overlays/{each}" for each in OVERLAYS)]
PROVIDERS = {
    "OPENAI_API_KEY": "openai-api-key",
    "ANTHROPIC_API_KEY": "anthropic-api-key",
    "AZURE_OPENAI_API_KEY": "azure-openai-api-key",
    "GEMINI_API_KEY": "gemini-api-key",
    "AWS_BEARER_TOKEN_BEDROCK": "bedrock-api-key",
    "COHERE_API_KEY": "cohere-api-key",
    "TOGETHER_API_KEY": "together-api-key",
    "MISTRAL_API_KEY": "mistral-api-key",
}
GIVEN = {
    "DATABASE_URL": "postgresql://a:b@c/d",
    "REDIS_URL": "redis://redis",
    "AZURE_US_API_KEY": "us",
    "AZURE_US_ENDPOINT": "https://us.openai.azure.com",
    "AZURE_EU_API_KEY": "eu",
    "AZURE_EU_ENDPOINT": "https://eu.openai.azure.com",
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_kubernetes_takes_what_an_overlay_builds(
    folder: str, kustomize: Callable[[str], Documents], accepted: Any, loads: Any
) -> None:
    documents = kustomize(folder)
    accepted(documents)
    by_kind = {each["kind"]: each for each in documents}
    spaces = {each["metadata"].get("namespace", "llm-gateway") for each in documents}
    assert spaces == {"llm-gateway"}
    loads(by_kind["ConfigMap"]["data"]["config.yaml"], "--strict", **GIVEN)
    pod = by_kind["Deployment"]["spec"]["template"]["spec"]
    entries = {
        each["name"]: each["valueFrom"]["secretKeyRef"]
        for each in pod["containers"][0]["env"]
        if "valueFrom" in each
    }
    keys = {
        name: each["key"]
        for name, each in entries.items()
        if each["name"] == "llm-provider-secrets" and each["key"].endswith("-api-key")
    }
    assert PROVIDERS.items() <= keys.items()


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_runs_is_one_pinned_version_as_an_ordinary_user(
    folder: str, kustomize: Callable[[str], Documents]
) -> None:
    runs = [each for each in kustomize(folder) if each["kind"] in ("Deployment", "Job")]
    pods = [each["spec"]["template"]["spec"] for each in runs]
    assert {pod["containers"][0]["image"] for pod in pods} == {"llm-gateway:0.1.0"}
    assert {pod["securityContext"]["runAsUser"] for pod in pods} == {1000}


def test_each_region_serves_from_its_own_side_first(
    kustomize: Callable[[str], Documents],
) -> None:
    for region, other in (("us", "eu"), ("eu", "us")):
        documents = kustomize(f"overlays/two-region/{region}")
        (config,) = [each["data"] for each in documents if each["kind"] == "ConfigMap"]
        first, second = [
            line.strip()
            for line in config["config.yaml"].splitlines()
            if "provider: azure_" in line
        ]
        assert f"region: {region}" in first and f"region: {other}" in second
