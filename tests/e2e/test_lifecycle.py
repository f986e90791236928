"""A gateway's life from outside: reload under load, drain with streams open, refusal to start."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from llm_gateway_testkit.gateway import API_KEY, Gateway, running_gateway
from llm_gateway_testkit.rawclient import call, exchange

SLOW = {"providers": {"sim": {"kind": "simulated", "chunk_delay_ms": 50}}}

SLOWER = {"providers": {"sim": {"kind": "simulated", "chunk_delay_ms": 300, "words": 40}}}


def body(text: str = "a few words to say again", **more: Any) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": "simulated", "messages": [message], **more}


async def stream(gateway: Gateway, begun: asyncio.Event) -> bytes:
    url = f"{gateway.url}/v1/chat/completions"
    seen = b""
    async with exchange(url, body(stream=True), key=API_KEY) as answer:
        async for piece in answer.pieces():
            seen += piece
            begun.set()
    return seen


async def streams(gateway: Gateway, count: int) -> list["asyncio.Task[bytes]"]:
    """So many streams, each of which has begun to come."""
    begun = [asyncio.Event() for _ in range(count)]
    tasks = [asyncio.create_task(stream(gateway, each)) for each in begun]
    async with asyncio.timeout(60):
        for each in begun:
            await each.wait()
    return tasks


async def config_path(gateway: Gateway) -> Path:
    arguments = Path(f"/proc/{gateway.process.pid}/cmdline").read_bytes().split(b"\0")
    return Path(arguments[arguments.index(b"-c") + 1].decode())


async def said(gateway: Gateway, words: str) -> None:
    async with asyncio.timeout(10):
        while not any(words in line for line in gateway.log_lines()):
            await asyncio.sleep(0.02)


async def test_sigterm_lets_open_streams_finish() -> None:
    """What was begun is finished, and the process ends with 0."""
    async with running_gateway(SLOW) as gateway:
        under_way = await streams(gateway, 50)

        gateway.process.send_signal(signal.SIGTERM)
        bodies = await asyncio.gather(*under_way)

        assert all(each.endswith(b"data: [DONE]\n\n") for each in bodies)
        assert await gateway.process.wait() == 0


async def test_streams_left_at_the_end_of_the_drain_get_an_error_frame() -> None:
    """A stream is never cut in silence."""
    config = {"server": {"drain_seconds": 0.2}, **SLOW}
    async with running_gateway(config) as gateway:
        (one,) = await streams(gateway, 1)

        gateway.process.send_signal(signal.SIGTERM)
        text = await one

    assert b"shutting_down" in text
    assert b"[DONE]" not in text


async def test_reload_under_load_drops_nothing_and_a_bad_file_changes_nothing() -> None:
    async with running_gateway(SLOW) as gateway:
        path = await config_path(gateway)
        under_way = await streams(gateway, 50)

        path.write_text("providers: {sim: {kind: simulated}, two: {kind: simulated}}")
        gateway.process.send_signal(signal.SIGHUP)
        await said(gateway, "reload.done")
        path.write_text("providers: {sim: {kind: simulated, chunk_dely_ms: 1}}")
        gateway.process.send_signal(signal.SIGHUP)
        await said(gateway, "reload.refused")
        bodies = await asyncio.gather(*under_way)
        after = await call(f"{gateway.url}/v1/chat/completions", body(), key=API_KEY)
        second = await call(
            f"{gateway.url}/v1/chat/completions", body() | {"model": "two/simulated"}, key=API_KEY
        )

    assert all(each.endswith(b"data: [DONE]\n\n") for each in bodies)
    assert (after.status, second.status) == (200, 200)
    assert any("chunk_delay_ms" in line for line in gateway.log_lines())


async def test_a_thousand_open_streams_on_one_worker() -> None:
    """All are served whole, in less memory than promised."""
    async with running_gateway(SLOWER) as gateway:
        under_way = await streams(gateway, 1000)
        assert not any(each.done() for each in under_way)
        lines = Path(f"/proc/{gateway.process.pid}/status").read_text().splitlines()
        resident = next(int(each.split()[1]) for each in lines if each.startswith("VmRSS"))
        bodies = await asyncio.gather(*under_way)

    assert sum(each.endswith(b"data: [DONE]\n\n") for each in bodies) == 1000
    assert resident < 120 * 1024


async def test_tls(tmp_path: Path) -> None:
    """With a certificate the main listener speaks HTTPS."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_gateway", "validate", str(write_tls(tmp_path))),
        stdout=asyncio.subprocess.PIPE,
    )
    assert await process.wait() == 0
    import ssl

    from llm_gateway_testkit.gateway import free_ports

    port, metrics = free_ports(2)
    served = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm_gateway", "start", "-c", str(tmp_path / "tls.yaml")),
        *("-H", "127.0.0.1", "-p", str(port), "--metrics-port", str(metrics)),
        env={"PATH": "/usr/bin:/bin", "LLM_GATEWAY_DATA_DIR": str(tmp_path / "data")},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        context = ssl.create_default_context(cafile=str(certificate))
        async with asyncio.timeout(10):
            while True:
                try:
                    reader, writer = await asyncio.open_connection(
                        "127.0.0.1", port, ssl=context, server_hostname="localhost"
                    )
                    break
                except OSError:
                    await asyncio.sleep(0.05)
        writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()
        asked = [sys.executable, "-m", "llm_gateway", "-u", f"https://localhost:{port}", "health"]
        strange = await finished(*asked)
        known = await finished(*asked, SSL_CERT_FILE=str(certificate))
        assert strange[0] == 1 and "SSL_CERT_FILE" in strange[1], strange
        assert known == (0, "The gateway is well (ok).\n")
        for args in (("health",), ("keys", "list")):  # two clients: the SDK's and the kernel's
            for url, wanted in (
                (f"http://localhost:{port}", "https://"),
                (f"https://localhost:{metrics}", "http://"),
            ):
                code, told = await finished(*asked[:3], "-u", url, *args, COLUMNS="400")
                assert code == 1 and f"write {wanted} where the gateway has" in told, told
    finally:
        served.terminate()
        await served.wait()


async def finished(*command: str, **environment: str) -> tuple[int | None, str]:
    """The exit code and all that was said."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={"PATH": "/usr/bin:/bin", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told = (await process.communicate())[0].decode()
    return process.returncode, told


def write_tls(folder: Path) -> Path:
    path = folder / "tls.yaml"
    path.write_text(
        f"server: {{tls: {{cert_file: {folder / 'cert.pem'}, key_file: {folder / 'key.pem'}}}}}\n"
        "providers: {sim: {kind: simulated}}\n"
    )
    return path


def test_start_is_refused_with_78_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("servr: {port: 1}\nproviders: {x: {kind: nobody}}\n")

    run = subprocess.run(
        [sys.executable, "-m", "llm_gateway", "start", "-c", str(path)],
        env={"LLM_GATEWAY_DATA_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert run.returncode == 78
    assert "server" in run.stderr
    assert "llm-gateway-provider-nobody" in run.stderr


def test_start_is_refused_without_the_strict_parser(tmp_path: Path) -> None:
    """What reads requests is the parser that the tests of malformed ones were run with."""
    path = tmp_path / "good.yaml"
    path.write_text("providers: {sim: {kind: simulated}}\n")

    run = subprocess.run(
        [sys.executable, "-m", "llm_gateway", "start", "-c", str(path), "-H", "127.0.0.1"],
        env={
            "LLM_GATEWAY_DATA_DIR": str(tmp_path / "data"),
            "PATH": "/usr/bin:/bin",
            "AIOHTTP_NO_EXTENSIONS": "1",
        },
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert run.returncode == 78
    assert "C parser" in run.stderr
