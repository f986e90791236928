"""A real gateway process for a test: its own configuration, ports and data folder.

Nothing of the caller's environment that could change the outcome is handed on: no vendor's
key, no setting of another gateway.
"""

import asyncio
import json
import os
import random
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_gateway_testkit.rawclient import call

API_KEY = "test-key-0123456789abcdef"
START_SECONDS = 60.0  # of a machine that does much else
STOP_SECONDS = 30.0
WORKERS_SECONDS = 60.0  # one that keeps ending is replaced ever later
LISTENING = (10_000, 32_768)  # below the ports that Linux gives to clients


@dataclass(slots=True)
class Gateway:
    """A running gateway. `url` and `metrics_url` are origins without a path."""

    url: str
    metrics_url: str
    api_key: str
    process: asyncio.subprocess.Process
    _lines: list[str] = field(default_factory=list)

    def log_lines(self) -> list[str]:
        """What the process has written so far, on either stream."""
        return list(self._lines)

    def workers(self) -> set[int]:
        """The pids of its worker processes, serving or not."""
        pid = self.process.pid
        return {int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}

    async def serving(self, count: int, unlike: Collection[int] = ()) -> set[int]:
        """The pids of its workers, once there are `count` that serve, and none in `unlike`."""
        async with asyncio.timeout(WORKERS_SECONDS):
            while True:
                pids = self.workers()
                states = (await call(f"{self.url}/health?detailed=true")).json["workers"]
                ready = [each for each in states.values() if each == "ready"]
                if len(pids) == len(ready) == count and not pids & set(unlike):
                    return pids
                await asyncio.sleep(0.1)


@asynccontextmanager
async def running_gateway(
    config: Mapping[str, Any] | str,
    env: Mapping[str, str] | None = None,
    *,
    args: Sequence[str] = (),
    api_key: str = API_KEY,
    python: str = sys.executable,
    output: int | None = None,
) -> AsyncIterator[Gateway]:
    """Start a gateway with `config` (a mapping, or YAML) and stop it after the block.

    `python` is the interpreter, whose environment says what is installed. `output` is a
    descriptor that takes both its streams; nothing of them is read here then.

    Raises:
        AssertionError: it did not become live, or did not end after SIGTERM; the text
            holds what it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="llm-gateway-") as folder:
        path = Path(folder) / "gateway.yaml"
        text = config if isinstance(config, str) else json.dumps(quiet(config))  # JSON is YAML
        path.write_text(text, encoding="utf-8")
        main, metrics = free_ports(2)
        command = ["start", "-c", str(path), "-H", "127.0.0.1", "-p", str(main)]
        command += ["--metrics-port", str(metrics), *args]
        process = await asyncio.create_subprocess_exec(
            *(python, "-m", "llm_gateway", *command),
            cwd=folder,
            env=_environment(folder, api_key, env or {}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if output is None else output,
            stderr=asyncio.subprocess.STDOUT,
        )
        origin = "http://127.0.0.1"
        gateway = Gateway(f"{origin}:{main}", f"{origin}:{metrics}", api_key, process)
        reading = asyncio.create_task(_read(process, gateway._lines))
        try:
            await _live(gateway)
            yield gateway
        finally:
            stopped = await _stop(process)
            await reading
        if not stopped:
            raise AssertionError(_told("the gateway did not stop after SIGTERM", gateway))


def quiet(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` without probes of providers, unless it says something of them: a script is for
    what the test itself asks."""
    routing = {"health_check_interval_seconds": 0, **config.get("routing", {})}
    return {**config, "routing": routing}


def free_ports(count: int) -> list[int]:
    """Ports that are free now, all different; none that the system gives to a client, which
    could take it before the gateway does."""
    holders: list[socket.socket] = []
    try:
        while len(holders) < count:
            holder = socket.socket()
            holders.append(holder)
            try:
                holder.bind(("127.0.0.1", random.randrange(*LISTENING)))
            except OSError:
                holders.pop().close()
        return [holder.getsockname()[1] for holder in holders]
    finally:
        for holder in holders:
            holder.close()


def _environment(folder: str, api_key: str, extra: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.endswith(("_API_KEY", "DATABASE_URL", "REDIS_URL"))
        and not name.startswith("LLM_GATEWAY_")
    }
    kept["LLM_GATEWAY_DATA_DIR"] = str(Path(folder) / "data")
    kept["LLM_GATEWAY_API_KEYS"] = api_key
    kept["PYTHONUNBUFFERED"] = "1"
    return kept | dict(extra)


async def _read(process: asyncio.subprocess.Process, lines: list[str]) -> None:
    while process.stdout is not None and (data := await process.stdout.readline()):
        lines.append(data.decode(errors="replace").rstrip("\n"))


async def _live(gateway: Gateway) -> None:
    """Ask until the gateway says that it lives."""
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await _says_live(gateway):
                if gateway.process.returncode is not None:
                    await asyncio.sleep(0.1)  # its last words
                    raise AssertionError(_told("the gateway ended at its start", gateway))
                await asyncio.sleep(0.02)
    except TimeoutError:
        text = f"the gateway was not live after {START_SECONDS} s"
        raise AssertionError(_told(text, gateway)) from None


async def _says_live(gateway: Gateway) -> bool:
    try:
        return (await call(f"{gateway.url}/health/live")).status == 200
    except (OSError, asyncio.IncompleteReadError):
        return False


async def _stop(process: asyncio.subprocess.Process) -> bool:
    """Whether SIGTERM was enough."""
    if process.returncode is not None:
        return True
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    return True


def _told(text: str, gateway: Gateway) -> str:
    return "\n".join([f"{text} (exit code {gateway.process.returncode}):", *gateway.log_lines()])
