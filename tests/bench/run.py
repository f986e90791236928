"""The benchmark, in one command: `uv run --all-packages python tests/bench/run.py`.

Loopback only, bounded, ends by itself. The gateway (keys, rules, metrics, log line and
usage counts on) against a bare aiohttp relay and a direct call, interleaved in one run.
Writes `tests/bench/result.json` and prints a table. Compare rows of one run only.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).parent
CONFIG = """
server: {{host: 127.0.0.1, port: {port}, metrics_port: {metrics}}}
providers:
  bench: {{kind: openai, api_key: sk-bench, base_url: "http://127.0.0.1:{mock}/v1"}}
  other: {{kind: openai, api_key: sk-bench, base_url: "http://127.0.0.1:{mock}/v1"}}
routing:
  default_provider: bench
  rules:
    - {{name: other, condition: "model starts_with 'other'", target_provider: other}}
    - {{name: bench, condition: "model starts_with 'gpt'", target_provider: bench}}
security:
  auth: {{api_keys: [bench-key-0123456789abcdef]}}
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Process:
    """A child on one core, with its CPU time and memory."""

    def __init__(self, stack: ExitStack, *command: str, core: int, **env: str) -> None:
        self._log = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed by the stack
        self.process = subprocess.Popen(
            command,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, **env},
            preexec_fn=lambda: os.sched_setaffinity(0, {core % os.cpu_count()}),  # type: ignore[operator]
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
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        return 0.0

    def wait_for(self, port: int, seconds: float = 20.0) -> float:
        """Seconds until the port takes connections."""
        start = time.perf_counter()
        while time.perf_counter() - start < seconds:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return time.perf_counter() - start
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        self._log.seek(0)
        raise SystemExit(f"did not start:\n{self._log.read().decode()}")


def load(*arguments: object) -> dict[str, float]:
    command = [sys.executable, str(HERE / "load.py"), *map(str, arguments)]
    core = os.cpu_count() or 1
    made = subprocess.run(
        command,
        capture_output=True,
        check=True,
        timeout=180,
        preexec_fn=lambda: os.sched_setaffinity(0, {core - 1}),
    )
    found: dict[str, float] = json.loads(made.stdout)
    return found


def measure(rounds: int, requests: int, systems: dict[str, tuple[Process | None, int]]) -> dict:  # type: ignore[type-arg]
    """CPU milliseconds a request in a closed loop, rounds interleaved; the median counts."""
    table: dict[str, dict[str, float]] = {}
    for kind, clients, total in (("plain", 32, requests), ("stream", 32, requests // 5)):
        samples: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
        for _ in range(rounds):
            for name, (process, port) in systems.items():
                before = process.cpu() if process else 0.0
                found = load("closed", port, clients, total, kind)
                if process:
                    found["cpu_ms"] = (process.cpu() - before) * 1000 / total
                samples[name].append(found)
        for name, rows in samples.items():
            keys = rows[0].keys()
            table[f"{name} {kind}"] = {
                key: round(statistics.median(row[key] for row in rows), 4) for key in keys
            }
    return table


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--requests", type=int, default=3000)
    arguments.add_argument("--rate", type=float, default=100.0)
    chosen = arguments.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        mock, relay, gateway, metrics = (free_port() for _ in range(4))
        provider = Process(stack, sys.executable, str(HERE / "mock.py"), str(mock), "0", core=1)
        provider.wait_for(mock)
        bare = Process(
            stack,
            sys.executable,
            str(HERE / "relay.py"),
            str(relay),
            f"http://127.0.0.1:{mock}",
            core=0,
        )
        bare.wait_for(relay)
        config = directory / "bench.yaml"
        config.write_text(CONFIG.format(port=gateway, metrics=metrics, mock=mock))
        ours = Process(
            stack,
            sys.executable,
            "-m",
            "llm_gateway",
            "start",
            "-c",
            str(config),
            core=0,
            LLM_GATEWAY_DATA_DIR=str(directory / "data"),
        )
        started = ours.wait_for(gateway)
        idle = ours.rss()
        systems: dict[str, tuple[Process | None, int]] = {
            "direct": (None, mock),
            "bare relay": (bare, relay),
            "gateway": (ours, gateway),
        }
        load("closed", gateway, 8, 200, "plain")
        load("closed", relay, 8, 200, "plain")
        table = measure(chosen.rounds, chosen.requests, systems)
        for name, (_, port) in systems.items():
            table[f"{name} at {chosen.rate:.0f}/s"] = load("open", port, chosen.rate, 10, "plain")
            table[f"{name} streams at 20/s"] = load("open", port, 20, 10, "stream")
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=10) as page:
            assert b"gateway_requests_total" in page.read()
        result = {
            "python": sys.version.split()[0],
            "start_seconds": round(started, 3),
            "rss_idle_mb": round(idle, 1),
            "rss_after_mb": round(ours.rss(), 1),
            "ratio_plain": round(
                table["gateway plain"]["cpu_ms"] / table["bare relay plain"]["cpu_ms"], 3
            ),
            "ratio_stream": round(
                table["gateway stream"]["cpu_ms"] / table["bare relay stream"]["cpu_ms"], 3
            ),
            "rows": table,
        }
    (HERE / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    show(result, table)


def show(result: dict[str, object], table: dict[str, dict[str, float]]) -> None:
    print(
        f"{'':34}{'CPU ms':>9}{'req/s':>9}{'p50 ms':>9}{'p95':>9}"
        f"{'p99':>9}{'first':>9}{'failed':>8}"
    )
    for name, row in table.items():
        print(
            f"{name:34}{row.get('cpu_ms', 0):9.3f}{row['per_second']:9.0f}{row['p50']:9.2f}"
            f"{row['p95']:9.2f}{row['p99']:9.2f}{row['first_p50']:9.2f}{row['failed']:8.0f}"
        )
    for key, value in result.items():
        if key != "rows":
            print(f"{key}: {value}")


if __name__ == "__main__":
    main()
