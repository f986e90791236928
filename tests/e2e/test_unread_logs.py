"""Whoever reads the gateway's output has stopped: requests go on, and the end comes."""

import asyncio
import fcntl
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from llm_gateway_testkit.gateway import Gateway, running_gateway
from llm_gateway_testkit.rawclient import call

ADMIN = "admin-key-0123456789abcdef"
MANY = 300
BODY = {"model": "simulated", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe with the least room that the system gives; the end to read from comes first."""
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(ours, False)
    try:
        yield ours, theirs
    finally:
        os.close(ours)
        os.close(theirs)


async def asked(gateway: Gateway, many: int) -> set[str]:
    """So many requests, each answered; their ids."""
    url = f"{gateway.url}/v1/chat/completions"
    replies = [await call(url, BODY, key=gateway.api_key) for _ in range(many)]
    assert {each.status for each in replies} == {200}
    return {each.headers["x-request-id"] for each in replies}


async def dropped(gateway: Gateway) -> float:
    page = (await call(f"{gateway.metrics_url}/metrics")).body.decode().splitlines()
    (row,) = [each for each in page if each.startswith("gateway_log_lines_dropped_total ")]
    return float(row.rpartition(" ")[2])


def read(pipe: int, seen: bytearray) -> None:
    while True:
        try:
            seen += os.read(pipe, 65536)
        except BlockingIOError:
            return


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_requests_do_not_wait_for_who_reads_the_log(
    workers: str, pipe: tuple[int, int]
) -> None:
    """Neither for their own lines nor for those of the log, which both streams hold here; what
    was kept back comes whole once somebody reads."""
    ours, theirs = pipe
    config: dict[str, Any] = {"providers": {"sim": {"kind": "simulated"}}}
    config["telemetry"] = {"logging": {"level": "debug"}}
    seen = bytearray()
    async with running_gateway(config, output=theirs, args=("--workers", workers)) as gateway:
        if workers != "1":
            await gateway.serving(int(workers))
        ids = await asyncio.wait_for(asked(gateway, MANY), 60)
        lost = await dropped(gateway)
        async with asyncio.timeout(60):
            while ids - told(seen):
                read(ours, seen)
                await asyncio.sleep(0.01)

    assert lost == 0


def told(seen: bytearray) -> set[str]:
    """The ids in the whole lines so far; each line is JSON or one of the log."""
    lines = bytes(seen[: seen.rfind(b"\n") + 1]).splitlines()
    return {json.loads(each)["request_id"] for each in lines if each.startswith(b"{")}


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_gateway_ends_although_nobody_reads_its_log(
    workers: str, pipe: tuple[int, int]
) -> None:
    config = {"providers": {"sim": {"kind": "simulated"}}}
    async with running_gateway(config, output=pipe[1], args=("--workers", workers)) as gateway:
        if workers != "1":
            await gateway.serving(int(workers))
        await asyncio.wait_for(asked(gateway, MANY), 60)

    assert gateway.process.returncode == 0
