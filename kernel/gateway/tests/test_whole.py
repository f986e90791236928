"""Lines of several processes stay whole on one pipe, and nobody waits for who does not read."""

import asyncio
import fcntl
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from llm_gateway.observe import AccessLog, Line, Tokens
from llm_gateway.whole import LogHandler, WholeLines, counted_in
from llm_gateway_api import Value

WRITER = """
import sys
from pathlib import Path
from llm_gateway.whole import WholeLines
lines = WholeLines(sys.stdout.buffer, Path(sys.argv[1]))
for number in range(20):
    lines.write(b"".join([sys.argv[2].encode() * 3000 + b"\\n"] * 20))
"""


def test_blocks_larger_than_a_pipe_takes_at_once_do_not_mix(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    lock = str(tmp_path / "lock")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, lock, letter], stdout=theirs)
        for letter in "abc"
    ]
    os.close(theirs)
    with os.fdopen(ours, "rb") as pipe:
        lines = pipe.read().splitlines()
    assert [each.wait() for each in writers] == [0, 0, 0]

    assert len(lines) == 3 * 400
    assert {len(set(each)) for each in lines} == {1}
    assert {len(each) for each in lines} == {3000}


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The end that is read and the one that is written, with little room between."""
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    with os.fdopen(ours, "rb") as reading, os.fdopen(theirs, "wb") as writing:
        yield reading, writing


def record(text: str) -> logging.LogRecord:
    return logging.LogRecord("n", logging.WARNING, "", 0, "%s", (text,), None)


def test_records_come_in_their_order_however_long_nobody_reads(
    pipe: tuple[IO[bytes], IO[bytes]],
) -> None:
    """Those that fit at once, those that a thread writes, and one larger than the pipe."""
    reading, writing = pipe
    handler = LogHandler(WholeLines(writing))
    texts = [f"{number} {'x' * 100}" for number in range(500)]
    texts[250] = "y" * 10_000

    for each in texts:
        handler.emit(record(each))
    got = [reading.readline().decode().rstrip("\n") for _ in texts]

    assert got == texts
    assert handler.dropped.value == 0


def test_what_finds_too_many_waiting_is_lost_and_counted(
    pipe: tuple[IO[bytes], IO[bytes]],
) -> None:
    reading, writing = pipe
    handler = LogHandler(WholeLines(writing), most=10)
    logging.getLogger().addHandler(handler)
    total = Value()
    try:
        for number in range(500):
            handler.emit(record(f"{number} {'x' * 100}"))
        counted_in(total)
    finally:
        logging.getLogger().removeHandler(handler)
    handler.emit(record("one more"))
    lost = int(total.value)
    got = [reading.readline().split()[0] for _ in range(501 - lost)]

    assert 0 < lost < 501
    assert got == [str(number).encode() for number in range(501 - lost)]
    handler.flush()


async def test_request_lines_that_nobody_reads_are_bounded_and_counted(
    pipe: tuple[IO[bytes], IO[bytes]],
) -> None:
    """Adding never waits; every line is either written, whole and in order, or counted."""
    reading, writing = pipe
    dropped = Value()
    log = AccessLog(WholeLines(writing), dropped, flush_seconds=0.001, most=200)
    many = 1000
    for number in range(many):
        line = Line("t", "INFO", "t", "done", str(number), "up", "m", 1.5, Tokens(1, 2), 200)
        log.add(line)
        if number % 50 == 0:
            await asyncio.sleep(0.002)  # so that there are several blocks
    lost = int(dropped.value)
    lines = await asyncio.to_thread(lambda: [reading.readline() for _ in range(many - lost)])
    log.close()

    assert 0 < lost <= many - 200
    numbers = [int(json.loads(each)["request_id"]) for each in lines]
    assert numbers == sorted(set(numbers))


def test_a_file_is_written_to_at_once(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as stream:
        handler = LogHandler(WholeLines(stream, tmp_path / "lock"))
        handler.emit(record("here"))

        assert (tmp_path / "log").read_text() == "here\n"
