"""The processes of a run: the provider, the systems under test on one core, the load on another.

Everything listens on loopback only and ends with the `ExitStack` that it was opened on.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, Any

from llm_gateway_testkit import servers
from scenarios import ADMIN_KEY, BASE, CORE, KEY, merged

HERE = Path(__file__).parent
NOTHING: Mapping[str, Any] = {}
CORES = sorted(os.sched_getaffinity(0))
TESTED, LOADING = CORES[0], CORES[-1]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Process:
    """A child pinned to `core`, with its CPU time and memory."""

    def __init__(
        self, stack: ExitStack, *command: str, core: int, piped: bool = False, **env: str
    ) -> None:
        # the log lines go to a file, as they would
        self._said: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if piped else None,
            stdout=subprocess.PIPE if piped else self._said,
            stderr=self._said,
            env={**os.environ, **env},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        stack.callback(self.stop)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def cpu(self) -> float:
        """Seconds of CPU that all threads have used, to the nanosecond."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def rss(self) -> float:
        """Resident memory in MB."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def wait_for(self, port: int, seconds: float = 20.0) -> None:
        """Wait until `port` takes connections; `SystemExit` with what it said if it does not."""
        until = time.perf_counter() + seconds
        while time.perf_counter() < until and self.process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.005)
        self._said.seek(0)
        raise SystemExit(f"did not start:\n{self._said.read().decode()}")


class System:
    """Something that answers a chat request: the mock itself, the relay, or a gateway."""

    def __init__(self, name: str, process: Process, port: int, metrics_port: int = 0) -> None:
        self.name, self.process, self.port, self.metrics_port = name, process, port, metrics_port
        self.key = KEY

    def admit(self, tenant: Mapping[str, Any], budget: Mapping[str, Any]) -> None:
        """Make `tenant` with `budget`, and ask with a key of its own from now on."""
        if self.key != KEY:
            return
        owner = tenant["id"]
        self._put("POST", "tenants", tenant)
        self._put("PUT", "budgets", {"level": "tenant", "owner": owner, **budget})
        self.key = self._put("POST", "keys", {"tenant": owner, "name": "bench"})["key"]

    def _put(self, method: str, what: str, body: Mapping[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/admin/v1/{what}",
            json.dumps(body).encode(),
            {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read())


class Rig:
    """Makes the systems and asks them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self._gateways: dict[str, System] = {}
        self._redis_server: servers.Server | None = None
        python, port = sys.executable, free_port()
        mock = Process(stack, python, str(HERE / "mock.py"), str(port), core=LOADING)
        mock.wait_for(port)
        self.direct = System("direct", mock, port)
        port = free_port()
        upstream = f"http://127.0.0.1:{self.direct.port}"
        relay = Process(stack, python, str(HERE / "relay.py"), str(port), upstream, core=TESTED)
        relay.wait_for(port)
        self.relay = System("bare relay", relay, port)
        load = Process(stack, python, str(HERE / "load.py"), core=LOADING, piped=True)
        self._load = load.process
        self._result = self._directory / "result.json"

    def gateway(
        self, config: Mapping[str, Any] = NOTHING, plugins: frozenset[str] | None = CORE
    ) -> System:
        """The gateway of this configuration, started when first asked for."""
        name = json.dumps([config, sorted(plugins or ())], sort_keys=True)
        if name not in self._gateways:
            found, process = self.spawn(self._stack, config, plugins)
            process.wait_for(found.port)
            self._gateways[name] = found
        return self._gateways[name]

    def spawn(
        self,
        stack: ExitStack,
        config: Mapping[str, Any] = NOTHING,
        plugins: frozenset[str] | None = CORE,
    ) -> tuple[System, Process]:
        """A fresh gateway that need not be up yet."""
        installed = {each.name for each in entry_points(group="llm_gateway.plugins")}
        disabled = sorted(installed - plugins) if plugins is not None else []
        port, metrics_port = free_port(), free_port()
        server = {"host": "127.0.0.1", "port": port, "metrics_port": metrics_port}
        parts = {"server": server, "plugins": {"disabled": disabled}}
        text = json.dumps(merged(merged(BASE, config), parts))
        file = self._directory / f"{port}.yaml"
        if "{redis}" in text:
            text = text.replace("{redis}", self._redis())
        file.write_text(text.replace("{mock}", str(self.direct.port)))
        command = (sys.executable, "-m", "llm_gateway", "start", "-c", str(file))
        data = str(self._directory / f"data-{port}")
        process = Process(stack, *command, core=TESTED, LLM_GATEWAY_DATA_DIR=data)
        return System("gateway", process, port, metrics_port), process

    def _redis(self) -> str:
        """The address of a Redis, started when first asked for."""
        if self._redis_server is None:
            self._redis_server = self._stack.enter_context(servers.redis())
        return self._redis_server.url.partition("://")[2]

    def start(self, system: System, bodies: Sequence[object], path: str, **job: Any) -> None:
        """Begin a job of `load.py`."""
        job.update(
            port=system.port, path=path, key=system.key, bodies=bodies, result=str(self._result)
        )
        assert self._load.stdin is not None
        self._load.stdin.write(json.dumps(job).encode() + b"\n")
        self._load.stdin.flush()

    def result(self) -> dict[str, Any]:
        assert self._load.stdout is not None
        if not self._load.stdout.readline():
            raise SystemExit("the load generator died")
        found: dict[str, Any] = json.loads(self._result.read_text())
        return found

    def load(
        self,
        system: System,
        *bodies: object,
        path: str = "/v1/chat/completions",
        **job: Any,
    ) -> dict[str, Any]:
        self.start(system, bodies, path, **job)
        return self.result()


def answers(port: int, body: object) -> bool:
    """Whether a chat request gets a 200."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"authorization": f"Bearer {KEY}", "content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError):
        return False
