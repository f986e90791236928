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
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, Any, Literal

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


def seconds_of(pid: int) -> float:
    """Seconds of CPU, to the nanosecond, that all threads of `pid` and of its children used."""
    total = 0.0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0]) / 1e9
            children = (task / "children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        total += sum(seconds_of(int(each)) for each in children)
    return total


class Process:
    """A child pinned to `cores`, with its CPU time and memory."""

    def __init__(
        self,
        stack: ExitStack,
        *command: str,
        cores: Collection[int],
        piped: bool = False,
        **env: str,
    ) -> None:
        # the log lines go to a file, as they would
        self._said: IO[bytes] = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if piped else None,
            stdout=subprocess.PIPE if piped else self._said,
            stderr=self._said,
            env={**os.environ, **env},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
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
        """Seconds of CPU that it has used, its workers with it."""
        return seconds_of(self.process.pid)

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
        self._servers: dict[str, servers.Server] = {}
        python, port = sys.executable, free_port()
        mock = Process(stack, python, str(HERE / "mock.py"), str(port), cores={LOADING})
        mock.wait_for(port)
        self.direct = System("direct", mock, port)
        port = free_port()
        upstream = f"http://127.0.0.1:{self.direct.port}"
        relay = Process(stack, python, str(HERE / "relay.py"), str(port), upstream, cores={TESTED})
        relay.wait_for(port)
        self.relay = System("bare relay", relay, port)
        self._loader = Process(stack, python, str(HERE / "load.py"), cores={LOADING}, piped=True)
        self._load = self._loader.process
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
        *,
        workers: int = 1,
        cores: Collection[int] = (TESTED,),
    ) -> tuple[System, Process]:
        """A fresh gateway that need not be up yet."""
        installed = {each.name for each in entry_points(group="llm_gateway.plugins")}
        disabled = sorted(installed - plugins) if plugins is not None else []
        port, metrics_port = free_port(), free_port()
        server = {"host": "127.0.0.1", "port": port, "metrics_port": metrics_port}
        parts = {"server": server, "plugins": {"disabled": disabled}}
        text = json.dumps(merged(merged(BASE, config), parts))
        file = self._directory / f"{port}.yaml"
        names: tuple[Literal["redis", "postgres"], ...] = ("redis", "postgres")
        for name in names:
            if f"{{{name}}}" in text:
                text = text.replace(f"{{{name}}}", self.server(name).partition("://")[2])
        file.write_text(text.replace("{mock}", str(self.direct.port)))
        start = ("-m", "llm_gateway", "start", "-c", str(file), "--workers", str(workers))
        data = str(self._directory / f"data-{port}")
        process = Process(stack, sys.executable, *start, cores=cores, LLM_GATEWAY_DATA_DIR=data)
        return System("gateway", process, port, metrics_port), process

    @contextmanager
    def unpinned(self) -> Iterator[None]:
        """Let the load and the provider run on any core, where there is none to spare."""
        pids = [each.process.pid for each in (self._loader, self.direct.process)]
        for pid in pids:
            os.sched_setaffinity(pid, CORES)
        try:
            yield
        finally:
            for pid in pids:
                os.sched_setaffinity(pid, {LOADING})

    def driving(self) -> float:
        """Seconds of CPU that the load and the provider have used."""
        return self._loader.cpu() + self.direct.process.cpu()

    def server(self, name: Literal["redis", "postgres"]) -> str:
        """The URL of a Redis or PostgreSQL, started when first asked for."""
        if name not in self._servers:
            started = servers.redis() if name == "redis" else servers.postgres()
            self._servers[name] = self._stack.enter_context(started)
        return self._servers[name].url

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
