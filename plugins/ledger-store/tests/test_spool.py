"""The spool: what was admitted is found again, whatever the process died of."""

import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from llm_gateway_api import LedgerOpening, LedgerRecord, SQLValue, Usage
from llm_gateway_ledger_store import spool as spool_module
from llm_gateway_ledger_store.rows import COLUMNS, Row, row_of
from llm_gateway_ledger_store.spool import Spool, entries, orphans, recovered, release


def opening(number: int, model: str = "m") -> LedgerOpening:
    return LedgerOpening(f"led_{number}", f"req_{number}", 1000 + number, "t", "k", model, "chat")


def record(number: int) -> LedgerRecord:
    begun = opening(number)
    return LedgerRecord(
        id=begun.id,
        request_id=begun.request_id,
        at=begun.at,
        tenant=begun.tenant,
        key_id=begun.key_id,
        model=begun.model,
        operation=begun.operation,
        provider="p",
        upstream_model="u",
        region=None,
        status=200,
        error=None,
        stream=True,
        cache=None,
        attempts=1,
        duration_ms=5,
        first_content_ms=2,
        usage=Usage(input=3, output=4),
        cost_nano=13,
        saved_nano=None,
        price_version="v1",
    )


def named(rows: Sequence[Row]) -> list[dict[str, SQLValue]]:
    return [dict(zip(COLUMNS, each, strict=True)) for each in rows]


def test_ended_requests_are_read_once_and_their_file_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is read at once."""
    spool = Spool(tmp_path, 64 * 1024)
    for number in range(3):
        spool.begin(opening(number))
        spool.end(record(number))
    spool.begin(opening(3))
    segment = spool.segments[0]
    expected = [row_of(record(number)) for number in range(3)]
    assert spool.read(segment) == (expected, segment.written)

    monkeypatch.setattr(spool_module, "READ_BYTES", 600)
    found: list[Row] = []
    reads = 0
    while segment.shipped < segment.written:
        rows, segment.shipped = spool.read(segment)
        found += rows
        reads += 1
    assert found == expected
    assert reads > 1

    spool.end(record(3))
    rows, segment.shipped = spool.read(segment)
    assert rows == [row_of(record(3))]
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_a_row_has_the_values_of_its_columns() -> None:
    usage = Usage(1, 2, 3, 4, 5, 6, 7, 8, True, 9, 10, 11)
    full = msgspec.structs.replace(record(1), usage=usage, hedges=2, hedge_cost_nano=12)
    row = dict(zip(COLUMNS, row_of(full), strict=True))

    for name in (each for each in LedgerRecord.__struct_fields__ if each != "usage"):
        assert row.pop(name) == getattr(full, name)
    used = {name: getattr(usage, name.removesuffix("_tokens")) for name in row}
    assert row == used
    assert len(used) == len(Usage.__struct_fields__)


def test_files_of_another_release_are_read(tmp_path: Path) -> None:
    """In which all entries are objects; and of one that knows fewer columns, or more."""
    lines = [msgspec.json.encode(each) for each in (opening(1), record(1), opening(2))]
    (tmp_path / "1-1-1.spool").write_bytes(b"\n".join(lines) + b"\n" + bytes(64))
    short = msgspec.json.encode(row_of(record(3))[:20])
    long = msgspec.json.encode((*row_of(record(4)), "new"))
    (tmp_path / "1-1-2.ledger").write_bytes(short + b"\n" + long + b"\n" + bytes(64))

    (first, former), (second, (fewer, more)) = orphans(tmp_path)
    assert former[0] == row_of(record(1))
    assert [(each["id"], each["error"]) for each in named(former[1:])] == [("led_2", "abandoned")]
    assert fewer == row_of(record(3))[:20] + (None,) * (len(COLUMNS) - 20)
    assert more == row_of(record(4))
    release(first)
    release(second)
    assert list(tmp_path.iterdir()) == []


def test_a_segment_stays_while_one_of_its_requests_runs(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10_000)
    spool.begin(opening(0))
    number = 1
    while len(spool.segments) == 1:
        spool.begin(opening(number))
        spool.end(record(number))
        number += 1
    first = spool.segments[0]
    first.shipped = first.written
    spool.forget(first)
    assert first in spool.segments
    spool.end(record(0))
    spool.forget(first)
    assert first not in spool.segments


def test_what_was_shipped_does_not_stay_for_long(tmp_path: Path) -> None:
    """Even where few requests come, and the file has room for more."""
    spool = Spool(tmp_path)
    spool.begin(opening(0))
    spool.turn(0.0)
    running = len(spool.segments)
    spool.end(record(0))
    spool.turn(0.0)
    unshipped = len(spool.segments)
    spool.segments[0].shipped = spool.segments[0].written
    spool.turn(3600.0)
    young = len(spool.segments)
    spool.turn(0.0)
    files = list(tmp_path.iterdir())
    spool.begin(opening(1))
    spool.end(record(1))

    assert (running, unshipped, young, files) == (1, 1, 1, [])
    assert len(spool.segments) == 1


def test_a_dead_process_leaves_records_and_abandoned_requests(tmp_path: Path) -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_spool import Spool, opening, record\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "spool.begin(opening(1)); spool.begin(opening(2)); spool.end(record(1))\n"
        "os.kill(os.getpid(), 9)"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path), here], check=False)
    assert done.returncode == -9

    ((segment, rows),) = orphans(tmp_path)
    assert [(each["id"], each["status"], each["error"]) for each in named(rows)] == [
        ("led_1", 200, None),
        ("led_2", 0, "abandoned"),
    ]
    release(segment)
    assert list(orphans(tmp_path)) == []


def test_a_living_process_keeps_its_segments(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.begin(opening(1))

    assert list(orphans(tmp_path)) == []


def test_a_torn_entry_is_where_reading_ends(tmp_path: Path) -> None:
    """Cut at every byte: whole entries are found, half of one is no entry."""
    spool = Spool(tmp_path)
    spool.begin(opening(1))
    spool.end(record(1))
    segment = spool.segments[0]
    data = segment.path.read_bytes()
    whole = data[: segment.written]
    first = whole.index(b"\n") + 1

    for cut in range(len(whole) + 1):
        torn = whole[:cut] + bytes(64)
        expected = (cut >= first) + (cut >= len(whole))
        assert len([*entries(torn)]) == expected
    assert recovered(data) == [row_of(record(1))]


def test_a_full_disk_refuses_new_requests_and_ends_the_others(tmp_path: Path) -> None:
    """What was admitted has its room: only `begin` raises."""
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_spool import Spool, opening, record\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "spool = Spool(Path(sys.argv[1]), 40_000)\n"
        "spool.begin(opening(0))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, -1))\n"
        "open_ids = [0]\n"
        "try:\n"
        "    for number in range(1, 1000):\n"
        "        spool.begin(opening(number)); open_ids.append(number)\n"
        "except OSError:\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))\n"
        "    for number in open_ids: spool.end(record(number))\n"
        "    print('refused', len(open_ids), len(spool.read(spool.segments[0])[0]))"
    )
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    if limit != resource.RLIM_INFINITY:
        pytest.skip("this machine already limits the size of files")
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), here], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    word, begun, ended = done.stdout.split()
    assert (word, begun) == ("refused", ended)


def test_long_names_are_cut_to_an_entry(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.begin(opening(1, "m" * 10_000))
    (segment,) = spool.segments
    begun = segment.written
    spool.end(msgspec.structs.replace(record(1), model="m" * 10_000))

    entry, row = entries(segment.path.read_bytes())
    assert begun <= 4096
    assert segment.written - begun <= 4096
    assert isinstance(entry, LedgerOpening)
    assert entry.model == "m" * 200
    assert named([row])[0]["model"] == "m" * 200
