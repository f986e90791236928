"""What the guides show, run as it stands: a newcomer's shell, and each Python sample.

Fenced `sh` is run in its order, a fenced configuration that begins with its file's name is written,
and a frame that ends in `llm-gateway start …` starts the gateway (anew, on an empty data
directory, where the frame puts something into it before). Only ports are replaced.
"""

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from llm_gateway_testkit.gateway import API_KEY, free_ports, running_gateway

pytestmark = pytest.mark.timeout(180)
ROOT = Path(__file__).parents[2]
DOCS = ROOT / "kernel/gateway/docs"
PLACED = re.compile(r"```(\w+)\n(.*?)^```$|((?:^    [^\n]+\n)+)", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRELUDE = """
set -euo pipefail
stop() { if [ -n "${gateway:-}" ]; then kill "$gateway"; wait "$gateway" || true; fi; }
trap stop EXIT
ready() {
  until curl -sf http://localhost:8080/health/ready >ready; do kill -0 "$gateway"; sleep 0.1; done
}
empty() { rm -rf "$LLM_GATEWAY_DATA_DIR"; mkdir -pm 700 "$LLM_GATEWAY_DATA_DIR"; }
"""
MODELS = {
    "providers": {
        "simulated": {
            "kind": "simulated",
            "models": ["gpt-4o", "claude-sonnet-4-5", "text-embedding-3-small"],
        }
    }
}


def script(page: str) -> Iterator[str]:
    """The page as one shell script."""
    for language, text, frame in PLACED.findall(page):
        if language == "sh":
            yield text
        elif language == "yaml" and text.startswith("# config.yaml\n"):
            yield f"cat >config.yaml <<'END'\n{text}END"
        elif (lines := frame.splitlines()) and "llm-gateway start" in lines[-1]:
            before = ["empty", *lines[:-1]] if len(lines) > 1 else []
            start = re.sub(r".*(llm-gateway start)", r"\1", lines[-1])
            yield "\n".join(["stop", *before, f"{start} >>gateway.log 2>&1 & gateway=$!", "ready"])


async def run(page: str, home: Path) -> str:
    """All that the page's commands said; each has to succeed."""
    main, metrics = free_ports(2)
    text = PRELUDE + "\n".join(script(page))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", text.replace("localhost:8080", f"localhost:{main}")),
        cwd=home,
        env={
            "HOME": str(home),
            "PATH": path,
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(main),
            "METRICS_PORT": str(metrics),
            "LLM_GATEWAY_URL": f"http://localhost:{main}",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told = (await process.communicate())[0].decode()
    assert process.returncode == 0, told + (home / "gateway.log").read_text()
    return told


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="needs the command sqlite3")
async def test_the_operators_guide(tmp_path: Path) -> None:
    """From the first configuration to a backup that was restored."""
    told = await run((DOCS / "operating.md").read_text(), tmp_path)

    assert "config.yaml is valid" in told and "When is low tide?" in told
    assert "chosen: simulated/simulated" in told
    assert re.search(r"^harbour +simulated +1 ", told, re.MULTILINE)
    assert re.search(r"^openai-key +1 ", told, re.MULTILINE)
    restored = told.partition("applied")[2]
    assert re.search(r"^[0-9a-f]{16} +ci +harbour +user +active ", restored, re.MULTILINE)
    assert "The chain is whole." in restored


async def test_the_readmes_first_steps(tmp_path: Path) -> None:
    shown = "export LLM_GATEWAY_API_KEY=...   # the key that was shown"
    kept = 'export LLM_GATEWAY_API_KEY=$(cat "$HOME/.local/state/llm-gateway/api-key")'
    page = (ROOT / "README.md").read_text()
    assert shown in page

    told = await run(page.replace(shown, kept), tmp_path)

    assert "no provider is configured" in (tmp_path / "gateway.log").read_text()
    assert told.count('You said: \\"Hello\\"') == 1 and told.count('You said: "Hello"') == 1


def samples() -> Iterator[tuple[str, str]]:
    pages = [ROOT / "README.md", DOCS / "calling.md", *ROOT.glob("plugins/frontend-*/README.md")]
    for path in pages:
        for number, text in enumerate(PYTHON.findall(path.read_text())):
            yield f"{path.relative_to(ROOT)} {number + 1}", text


async def test_each_python_sample_does_its_work() -> None:
    """Typed by a newcomer: only the address and the key are put in."""
    async with running_gateway(MODELS) as gateway:
        for name, text in samples():
            given = text.replace("http://localhost:8080", gateway.url)
            given = re.sub('api_key="[^"]+"', f'api_key="{API_KEY}"', given)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-c", given),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
            assert process.returncode == 0, name + err.decode()
            assert out.strip(), name
