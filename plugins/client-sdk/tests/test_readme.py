"""The README's samples: strictly typed for whoever copies them, and they run as they stand."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from llm_gateway_testkit.gateway import API_KEY, running_gateway

README = Path(__file__).parents[1] / "README.md"
SAMPLES = re.findall(r"^```python\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
ADMIN = "admin-key-0123456789"
CONFIG = {
    "providers": {
        "simulated": {
            "kind": "simulated",
            "models": ["gpt-4o", "text-embedding-3-small", "rerank-v3.5"],
        }
    },
    "security": {"auth": {"admin_key": ADMIN}},
}
MISUSE = """
from llm_gateway_sdk import AsyncClient, Client

client = Client("http://localhost:8080")
text: int = client.chat_stream
cost: str = client.admin.cost()[0].cost_usd
client.admin.cost(windows="1h")
rows = AsyncClient().admin.cost()[0]
client.chat("Hello")
"""


def checked(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_samples_are_typed(tmp_path: Path) -> None:
    """mypy --strict finds nothing in any sample, and finds each misuse."""
    for number, sample in enumerate(SAMPLES):
        (tmp_path / f"sample_{number}.py").write_text(sample, "utf-8")
    good = checked(tmp_path)
    (tmp_path / "misuse.py").write_text(MISUSE, "utf-8")
    bad = checked(tmp_path)

    assert len(SAMPLES) >= 5 and good.returncode == 0, good.stdout + good.stderr
    lines = [
        int(each) for each in re.findall(r"^misuse\.py:(\d+): error", bad.stdout, re.MULTILINE)
    ]
    assert sorted(set(lines)) == [5, 6, 7, 8, 9], bad.stdout


@pytest.mark.timeout(120)
async def test_samples_run() -> None:
    """Each sample does its work against a gateway; only the address and keys are put in."""
    async with running_gateway(CONFIG) as gateway:
        outputs = []
        for sample in SAMPLES:
            text = sample.replace("http://localhost:8080", gateway.url)
            text = text.replace("gw-your-key", API_KEY).replace("gw-admin-key", ADMIN)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-W", "error", "-c", text),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
            assert process.returncode == 0, err.decode()
            outputs.append(out.decode())

    first, counted, others, failed, admin = outputs
    assert "Hello" in first and "Count to ten" in counted
    assert others.splitlines()[1].startswith("1 ") and "gpt-4o" in others
    assert failed.startswith("400 ")
    assert len(admin.splitlines()[0].split()) == 2
