"""Renders the chart with Helm's own engine and the overlays with kubectl's Kustomize."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

CHARTS = Path(__file__).parents[2] / "charts"
NOT_IN_KUBERNETES = {"ServiceMonitor", "PrometheusRule", "HTTPRoute"}

Document = dict[str, Any]


@pytest.fixture
def charts() -> Path:
    return CHARTS


@pytest.fixture
def helm() -> Any:
    """Helm 4 as a library; the group ``delivery`` brings it."""
    return pytest.importorskip("helm_python")


@pytest.fixture
def render(helm: Any) -> Iterator[Callable[..., list[Document]]]:
    """``render(values)``: what an installation with these values is made of."""
    with helm.Chart.load(CHARTS / "llm-gateway") as chart:

        def rendered(values: Document | None = None, name: str = "llm-gateway") -> list[Document]:
            found = chart.render(values or {}, name=name, namespace="llm-gateway")
            texts = [text for path, text in found.items() if path.endswith(".yaml")]
            return [each for text in texts for each in yaml.safe_load_all(text) if each]

        yield rendered


@pytest.fixture
def kustomize() -> Callable[[str], list[Document]]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")

    def built(folder: str) -> list[Document]:
        command = [kubectl, "kustomize", str(CHARTS / "kustomize" / folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return list(yaml.safe_load_all(done.stdout))

    return built


@pytest.fixture
def accepted() -> Callable[[list[Document]], None]:
    """Hold documents against the schemas of the oldest and a new Kubernetes, strictly."""
    validate = pytest.importorskip("kubernetes_validate").validate

    def check(documents: list[Document]) -> None:
        for each in documents:
            if each["kind"] not in NOT_IN_KUBERNETES:
                for version in ("1.27", "1.34"):
                    validate(each, version, strict=True)

    return check


@pytest.fixture
def loads(tmp_path: Path) -> Callable[..., str]:
    """``loads(text)``: `llm-gateway validate` takes this configuration; gives its output."""

    def check(text: str, *flags: str, **environment: str) -> str:
        (tmp_path / "config.yaml").write_text(text)
        command = [str(Path(sys.executable).with_name("llm-gateway")), "validate"]
        command += [*flags, str(tmp_path / "config.yaml")]
        given = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **environment}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=given)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return check
