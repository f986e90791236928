"""Several workers from outside: reload, upgrade and deaths under load, counts, logs, ends."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from llm_gateway_testkit.gateway import API_KEY, Gateway, free_ports, running_gateway
from llm_gateway_testkit.rawclient import call, exchange

HOOKS = Path(__file__).parent.parent / "hooks"
TWO = ("--workers", "2")
SLOW = {"kind": "simulated", "chunk_delay_ms": 200, "words": 75}  # 15 s
STREAMS = {"providers": {"sim": SLOW, "quick": {"kind": "simulated"}}}
QUICK = {"providers": {"sim": {"kind": "simulated"}}}
QUICKLY = {"model": "quick/simulated", "messages": [{"role": "user", "content": "again"}]}
LONG = {
    "model": "sim/simulated",
    "messages": [{"role": "user", "content": "at length"}],
    "stream": True,
}
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "say it again"}]}


@asynccontextmanager
async def two_workers(
    config: dict[str, Any], env: dict[str, str] | None = None
) -> AsyncIterator[Gateway]:
    """A gateway whose two workers serve."""
    async with running_gateway(config, env, args=TWO) as gateway:
        await gateway.serving(2)
        yield gateway


async def detailed(gateway: Gateway) -> Any:
    return (await call(f"{gateway.url}/health?detailed=true")).json


async def counted(gateway: Gateway, name: str) -> float:
    page = (await call(f"{gateway.metrics_url}/metrics")).body.decode()
    found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", page, re.MULTILINE)
    return sum(map(float, found))


async def said(gateway: Gateway, words: str, times: int = 1) -> None:
    async with asyncio.timeout(30):
        while sum(words in line for line in gateway.log_lines()) < times:
            await asyncio.sleep(0.05)


def config_path(gateway: Gateway) -> Path:
    arguments = Path(f"/proc/{gateway.process.pid}/cmdline").read_bytes().split(b"\0")
    return Path(arguments[arguments.index(b"-c") + 1].decode())


async def streams(gateway: Gateway, count: int) -> list["asyncio.Task[bytes]"]:
    """So many streams that have begun; each ends with what came, cut or whole."""
    begun = [asyncio.Event() for _ in range(count)]

    async def one(number: int) -> bytes:
        seen = b""
        url = f"{gateway.url}/v1/chat/completions"
        try:
            async with exchange(url, LONG, key=API_KEY) as answer:
                async for piece in answer.pieces():
                    seen += piece
                    begun[number].set()
        except (OSError, asyncio.IncompleteReadError):
            pass
        return seen

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    async with asyncio.timeout(60):
        for each in begun:
            await each.wait()
    return tasks


def whole(body: bytes) -> bool:
    return body.endswith(b"data: [DONE]\n\n")


class Load:
    """Clients that ask without a pause over connections they keep."""

    def __init__(self, gateway: Gateway, clients: int = 8) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._url = f"{gateway.url}/v1/chat/completions"
        self._clients = clients
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Load":
        self._session = aiohttp.ClientSession(headers={"authorization": f"Bearer {API_KEY}"})
        self._tasks = [asyncio.create_task(self._ask()) for _ in range(self._clients)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for each in self._tasks:
            each.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def _ask(self) -> None:
        while True:
            try:
                async with self._session.post(self._url, json=QUICKLY) as answer:
                    await answer.read()
                    if answer.status != 200:
                        self.failed.append(str(answer.status))
            except (aiohttp.ClientError, OSError) as error:
                self.failed.append(repr(error))
            self.answered += 1
            await asyncio.sleep(0.02)


def wheel(name: str, folder: Path) -> Path:
    """The wheel of one of the hooks' test plugins, built now."""
    command = ["uv", "build", "--wheel", "-q", "-o", str(folder), str(HOOKS / name)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
async def test_reload_and_upgrade_to_a_new_plugin_lose_no_request_and_cut_no_stream(
    tmp_path: Path,
) -> None:
    """500 streams are open and clients ask all the time; a wheel is installed in between."""
    site = tmp_path / "site"
    site.mkdir()
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    acme = wheel("acme", tmp_path / "dist")
    async with two_workers(STREAMS, {"PYTHONPATH": path}) as gateway:
        before = gateway.workers()
        under_way = await streams(gateway, 500)
        async with Load(gateway, 4) as load:
            config_path(gateway).write_text(
                json.dumps({"providers": {**STREAMS["providers"], "new": {"kind": "simulated"}}})
            )
            gateway.process.send_signal(signal.SIGHUP)
            await said(gateway, "reload.done workers=2")
            new = {**BODY, "model": "new/simulated"}
            url = f"{gateway.url}/v1/chat/completions"
            asked = await asyncio.gather(*(call(url, new, key=API_KEY) for _ in range(10)))
            assert {each.status for each in asked} == {200}
            assert (await call(f"{gateway.url}/acme/greet/you", key=API_KEY)).status == 404

            zipfile.ZipFile(acme).extractall(site)
            assert not any(task.done() for task in under_way)
            gateway.process.send_signal(signal.SIGUSR2)
            await said(gateway, "upgrade.done")
            assert not any(task.done() for task in under_way)
            greeted = await call(f"{gateway.url}/acme/greet/you", key=API_KEY)
            assert greeted.status == 200, [each for each in gateway.log_lines() if "acme" in each]
            bodies = await asyncio.gather(*under_way)
            await gateway.serving(2, unlike=before)
            assert load.answered > 100

        assert load.failed == []
        assert [each for each in bodies if not whole(each)] == []


@pytest.mark.slow
async def test_a_worker_told_to_end_finishes_its_streams_and_is_replaced() -> None:
    async with two_workers(STREAMS) as gateway:
        before = gateway.workers()
        under_way = await streams(gateway, 500)
        async with Load(gateway, 4) as load:
            os.kill(min(before), signal.SIGTERM)
            await said(gateway, "worker.replaced")
            assert not any(task.done() for task in under_way)
            bodies = await asyncio.gather(*under_way)
            await gateway.serving(2, unlike={min(before)})

    assert load.failed == []
    assert [each for each in bodies if not whole(each)] == []


@pytest.mark.slow
async def test_a_killed_worker_costs_its_own_connections_and_nothing_else() -> None:
    """Its clients see their connection reset, without [DONE]; others notice nothing."""
    async with two_workers(STREAMS) as gateway:
        before = gateway.workers()
        under_way = await streams(gateway, 500)
        port = int(gateway.url.rpartition(":")[2])
        victim = max(before)
        own = connections(victim, port)
        asked = await counted(gateway, "gateway_provider_requests_total")

        os.kill(victim, signal.SIGKILL)
        answers = await asyncio.gather(
            *(call(f"{gateway.url}/health/ready", key=API_KEY) for _ in range(100))
        )
        bodies = await asyncio.gather(*under_way)
        await gateway.serving(2, unlike={victim})
        cut = sum(not whole(each) for each in bodies)

        assert {each.status for each in answers} == {200}
        assert 0 < cut <= own
        assert cut > own - 20  # what else was connected is not streams
        assert await counted(gateway, "gateway_provider_requests_total") >= asked
        assert await counted(gateway, "gateway_worker_restarts_total") == 1


def connections(pid: int, port: int) -> int:
    """How many connections to `port` this process holds."""
    inodes = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            target = os.readlink(each)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    mine = [row for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"]
    return sum(row[9] in inodes for row in mine)


async def test_counts_of_all_workers_are_one_and_never_fall() -> None:
    async with two_workers(QUICK) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        for _ in range(40):
            assert (await call(url, BODY, key=API_KEY)).status == 200
        spread = [
            connections(pid, int(gateway.url.rpartition(":")[2])) for pid in gateway.workers()
        ]
        assert len(spread) == 2
        assert await counted(gateway, "gateway_requests_total") == 40
        assert await counted(gateway, "gateway_request_duration_seconds_count") == 40
        assert await counted(gateway, "gateway_workers") == 2

        before = gateway.workers()
        gateway.process.send_signal(signal.SIGUSR2)
        await gateway.serving(2, unlike=before)

        assert await counted(gateway, "gateway_requests_total") == 40
        assert await counted(gateway, "gateway_request_duration_seconds_count") == 40
        assert await counted(gateway, "gateway_workers") == 2


async def test_a_bad_file_changes_nothing_in_any_worker_nor_in_one_that_is_replaced() -> None:
    async with two_workers(QUICK) as gateway:
        config_path(gateway).write_text("providers: {sim: {kind: simulated, wrds: 1}}")
        gateway.process.send_signal(signal.SIGHUP)
        await said(gateway, "reload.refused")
        before = gateway.workers()
        gateway.process.send_signal(signal.SIGUSR2)
        await said(gateway, "upgrade.refused")
        assert before == gateway.workers() & before

        os.kill(min(before), signal.SIGKILL)
        await gateway.serving(2, unlike={min(before)})

        for _ in range(10):
            answer = await call(f"{gateway.url}/v1/chat/completions", BODY, key=API_KEY)
            assert answer.status == 200
        assert any("words" in line for line in gateway.log_lines())


async def test_workers_end_with_their_supervisor() -> None:
    async with two_workers(QUICK) as gateway:
        pids = gateway.workers()
        gateway.process.kill()
        await gateway.process.wait()
        async with asyncio.timeout(10):
            while any(Path(f"/proc/{pid}").exists() for pid in pids):
                await asyncio.sleep(0.05)


async def test_sigterm_lets_the_streams_of_all_workers_finish() -> None:
    async with two_workers(STREAMS) as gateway:
        under_way = await streams(gateway, 50)
        gateway.process.send_signal(signal.SIGTERM)
        bodies = await asyncio.gather(*under_way)

        assert all(map(whole, bodies))
        assert await gateway.process.wait() == 0


async def test_streams_left_at_the_end_of_the_drain_get_an_error_frame() -> None:
    async with two_workers({"server": {"drain_seconds": 0.2}, **STREAMS}) as gateway:
        under_way = await streams(gateway, 10)
        gateway.process.send_signal(signal.SIGTERM)
        bodies = await asyncio.gather(*under_way)

    assert [each[-300:] for each in bodies if b"shutting_down" not in each] == []


async def test_limits_hold_for_both_workers_together() -> None:
    """`state.backend: auto` means the host with several workers."""
    limited = {
        "security": {"rate_limit": {"requests_per_minute": 20, "burst_size": 20}},
        **QUICK,
    }
    async with two_workers(limited) as gateway:
        url = f"{gateway.url}/v1/chat/completions"
        answers = await asyncio.gather(*(call(url, BODY, key=API_KEY) for _ in range(60)))

    assert sum(each.status == 200 for each in answers) in (20, 21)  # a token every 3 s
    assert {each.status for each in answers} == {200, 429}


HANGING = """
import time
import llm_gateway_api as gw

async def hang(request: gw.EndpointRequest) -> gw.EndpointResponse:
    while True:
        time.sleep(1)

@gw.hookimpl
def llm_gateway_endpoints():
    return [gw.EndpointSpec("POST", "/hang", "user", lambda: hang)]
"""


async def test_a_worker_whose_event_loop_stands_still_is_replaced_and_counted(
    tmp_path: Path,
) -> None:
    """The log says why, and on which line it stood; the other worker serves on."""
    about = tmp_path / "hanging-1.0.dist-info"
    about.mkdir()
    (tmp_path / "hanging.py").write_text(HANGING)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hanging\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[llm_gateway.plugins]\nhanging = hanging\n")
    config = {"server": {"worker_silence_seconds": 6}, **QUICK}
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    async with two_workers(config, {"PYTHONPATH": path}) as gateway:
        before = gateway.workers()
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            await call(f"{gateway.url}/hang", {}, key=API_KEY)

        await said(gateway, "worker.hung")
        await said(gateway, "worker.replaced")
        await gateway.serving(2)
        assert len(gateway.workers() & before) == 1
        assert await counted(gateway, "gateway_worker_restarts_total") == 1
        assert any("hanging.py" in line and "in hang" in line for line in gateway.log_lines())


@pytest.mark.parametrize("children", [1, 3])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_during_the_start_ends_all_with_0(
    children: int, number: signal.Signals, tmp_path: Path
) -> None:
    """Whether the first worker starts, alone, or the others do while it serves; and a terminal
    sends Ctrl-C to all of them."""
    path = tmp_path / "good.yaml"
    path.write_text(json.dumps(QUICK))
    port, metrics = free_ports(2)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_gateway", "start", "-c", str(path), "--workers", "3"),
        *("-H", "127.0.0.1", "-p", str(port), "--metrics-port", str(metrics)),
        env={"LLM_GATEWAY_DATA_DIR": str(tmp_path / "data"), "PATH": "/usr/bin:/bin"},
        stderr=asyncio.subprocess.STDOUT,
        stdout=asyncio.subprocess.PIPE,
        process_group=0,
    )
    gateway = Gateway("", "", "", process)
    async with asyncio.timeout(60):
        while len(gateway.workers()) < children:
            await asyncio.sleep(0.01)
        begun = gateway.workers()
        if number == signal.SIGINT:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        told, _ = await process.communicate()

    assert process.returncode == 0, told.decode()
    assert b"Traceback" not in told
    assert b"exception" not in told
    assert not any(Path(f"/proc/{pid}").exists() for pid in begun)


async def test_one_key_is_made_for_all_workers(tmp_path: Path) -> None:
    async with running_gateway(QUICK, args=TWO, api_key="") as gateway:
        await gateway.serving(2)
        folder = Path(f"/proc/{gateway.process.pid}/environ").read_bytes().split(b"\0")
        data = next(each for each in folder if each.startswith(b"LLM_GATEWAY_DATA_DIR="))
        key = (Path(data.partition(b"=")[2].decode()) / "api-key").read_text().strip()
        url = f"{gateway.url}/v1/chat/completions"
        answers = await asyncio.gather(*(call(url, BODY, key=key) for _ in range(20)))

    assert {each.status for each in answers} == {200}
    assert not any(key in line for line in gateway.log_lines())


def test_a_refused_start_ends_with_78_and_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("providers: {x: {kind: nobody}}\n")
    port, metrics = free_ports(2)
    run = subprocess.run(
        [
            *(sys.executable, "-m", "llm_gateway", "start", "-c", str(path), "--workers", "2"),
            *("-p", str(port), "--metrics-port", str(metrics)),
        ],
        env={"LLM_GATEWAY_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert run.returncode == 78
    assert run.stderr.count("llm-gateway-provider-nobody") == 1


@pytest.mark.parametrize("count", ["1", "2"])
async def test_a_port_in_use_refuses_the_start(count: str, tmp_path: Path) -> None:
    """With SO_REUSEPORT two gateways could share it in silence."""
    path = tmp_path / "good.yaml"
    path.write_text(json.dumps(QUICK))
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "llm_gateway", "start", "-c", str(path), "--workers", count),
            *("-H", "127.0.0.1", "-p", str(taken.getsockname()[1])),
            *("--metrics-port", str(free_ports(1)[0])),
            env={"LLM_GATEWAY_DATA_DIR": str(tmp_path / "data"), "PATH": "/usr/bin:/bin"},
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(20):
            _, told = await process.communicate()

    assert process.returncode == 78
    assert b"cannot be listened on" in told
