"""Providers that a stranger writes, outside the workspace, from built wheels alone.

pytest -m slow tests/packaging
"""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from llm_gateway_testkit import openai_dialect as openai
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.rawclient import call
from llm_gateway_testkit.scripted import Answer, ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
STRANGERS = Path(__file__).parent / "strangers"
NAMES = ("lineal", "reef")
OURS = ("llm-inference-gateway", "llm-gateway-testkit", "pytest", "pytest-asyncio")


def run(line: Sequence[object], cwd: Path) -> str:
    done = subprocess.run([str(each) for each in line], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with our wheels and the strangers', and nothing of the workspace."""
    work = tmp_path_factory.mktemp("strangers")
    wheels = work / "wheels"
    run(["uv", "build", "-q", "--all-packages", "--wheel", "-o", wheels], ROOT)
    for name in NAMES:
        shutil.copytree(STRANGERS / name, work / name)
        run(["uv", "build", "-q", "--wheel", "-o", wheels], work / name)
    run(["uv", "venv", "-q", "venv"], work)
    strangers = [f"{name}-gateway" for name in NAMES]
    python = ("--python", "venv/bin/python", "--find-links", wheels)
    run(["uv", "pip", "install", "-q", *python, *OURS, *strangers], work)
    return work


@pytest.mark.parametrize("name", NAMES)
def test_a_provider_takes_less_than_80_lines(name: str) -> None:
    lines = (STRANGERS / name / f"src/{name}_gateway/__init__.py").read_text().splitlines()
    assert len(lines) < 80


@pytest.mark.parametrize("name", NAMES)
def test_the_conformance_kit_proves_it(home: Path, name: str) -> None:
    kit = [
        "-m",
        "pytest",
        "-q",
        "--llm-gateway-plugin",
        f"provider_{name}",
        "-o",
        "asyncio_mode=auto",
    ]
    told = run(["venv/bin/python", *kit, "--llm-gateway-cases", f"{name}/cases", name], home)
    assert "chat               proven" in told
    assert "failing" not in told


async def test_the_gateway_serves_both(home: Path) -> None:
    lines = b'{"say": "Low"}\n{"say": " tide"}\n"end"\n'
    async with ScriptedProvider() as lineal, ScriptedProvider() as reef:
        lineal.enqueue(Answer(body=lines))
        reef.enqueue(openai.chat_answer())
        config = {
            "providers": {
                "lineal": {"api_key": "k-1", "base_url": lineal.url},
                "reef": {"api_key": "k-2", "base_url": f"{reef.url}/v1"},
            }
        }
        python = str(home / "venv/bin/python")
        async with running_gateway(config, python=python) as gateway:
            question = [{"role": "user", "content": "When?"}]
            said = []
            for model in ("line-1", "reef-1"):
                body = {"model": model, "messages": question}
                answer = await call(f"{gateway.url}/v1/chat/completions", body, key=gateway.api_key)
                said.append(answer.json["choices"][0]["message"]["content"])

    assert said == ["Low tide", "Low tide"]
    assert lineal.received[0].headers["x-key"] == "k-1"
    assert reef.received[0].headers["x-reef-key"] == "k-2"
