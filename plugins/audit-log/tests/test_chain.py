"""The chain shows every change, whoever writes it and however its writer dies."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from llm_gateway_api import AuditEvent
from llm_gateway_audit_log import chain, files
from llm_gateway_audit_log.chain import Broken
from llm_gateway_audit_log.files import ChainFiles, everything, full
from llm_gateway_audit_log.log import retire
from llm_gateway_audit_log.verifying import verified_files

KEY = b"seal"
DAY_MS = 24 * 3600 * 1000


def event(number: int, tenant: str | None = None) -> AuditEvent:
    detail = {"number": str(number)}
    return AuditEvent(1000 + number, "auth.refused", "refused", tenant=tenant, detail=detail)


def written(folder: Path, many: int, key: bytes = KEY, size: int = 10**9) -> ChainFiles:
    made = ChainFiles(folder, key, size)
    made.open()
    for number in range(many):
        made.append(event(number))
    return made


def broken(folder: Path) -> list[Broken]:
    return verified_files(KEY, folder)[0]


def lines(folder: Path) -> list[bytes]:
    return [line for each in everything(folder) for line in each.read_bytes().splitlines()]


def test_a_whole_chain_holds_over_its_files(tmp_path: Path) -> None:
    """Whoever opens it next goes on where it ended, even at the beginning of a new file."""
    written(tmp_path, 20, size=2000).close()
    again = written(tmp_path, 5, size=2000)
    again.turn()
    again.close()
    written(tmp_path, 1, size=2000).close()

    assert len(full(tmp_path)) >= 4
    assert all(each.stat().st_size <= 2000 for each in everything(tmp_path))
    assert [json.loads(each)["seq"] for each in lines(tmp_path)] == list(range(1, 27))
    assert len({json.loads(each)["chain"] for each in lines(tmp_path)}) == 1
    assert broken(tmp_path) == []


def test_one_changed_byte_anywhere_is_found_and_located(tmp_path: Path) -> None:
    """In every file of the chain."""
    written(tmp_path, 9, size=1600).close()
    seq = 0
    paths = everything(tmp_path)
    assert len(paths) > 2
    for path in paths:
        whole = path.read_bytes()
        where = 0
        for line in whole.splitlines(keepends=True):
            seq += 1
            for at in range(where, where + len(line)):
                path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
                found = broken(tmp_path)
                assert found, f"byte {at} of {path.name}"
                assert min(abs(each.seq - seq) for each in found) <= 1
                assert any(each.where in ("", path.name) for each in found)
            where += len(line)
        path.write_bytes(whole)


@given(st.data())
def test_any_other_byte_put_in_or_taken_out_is_found_and_located(data: st.DataObject) -> None:
    """By whatever value, in any of several files."""
    with tempfile.TemporaryDirectory() as folder:
        written(Path(folder), 7, size=1200).close()
        paths = everything(Path(folder))
        path = data.draw(st.sampled_from(paths))
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        new = bytes([data.draw(st.integers(0, 255))])
        kind = data.draw(st.sampled_from(["exchanged", "added", "removed"]))
        put = {"exchanged": new, "added": new + whole[at : at + 1], "removed": b""}[kind]
        assume(put != whole[at : at + 1])
        path.write_bytes(whole[:at] + put + whole[at + 1 :])
        before = sum(each.read_bytes().count(b"\n") for each in paths[: paths.index(path)])
        seq = before + whole[:at].count(b"\n") + 1
        found = broken(Path(folder))

        assert len(paths) > 2
        assert found
        assert min(abs(each.seq - seq) for each in found) <= 1


@pytest.mark.parametrize(("first", "last"), [(0, 1), (2, 3), (2, 5)])
def test_removed_records_are_named(tmp_path: Path, first: int, last: int) -> None:
    written(tmp_path, 8).close()
    path = tmp_path / files.CURRENT
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:first] + kept[last:]))

    (found, *_) = broken(tmp_path)
    assert found.seq == first + 1
    assert f"{first + 1} to {last}" in found.reason or f"1 to {last}" in found.reason


@pytest.mark.parametrize("which", [0, 1])
def test_a_removed_file_is_named(tmp_path: Path, which: int) -> None:
    written(tmp_path, 9, size=1600).close()
    gone = full(tmp_path)[which]
    numbers = [json.loads(each)["seq"] for each in gone.read_bytes().splitlines()]
    gone.unlink()

    assert f"records {numbers[0]} to {numbers[-1]} are missing" in [
        each.reason for each in broken(tmp_path)
    ]


def test_a_chain_that_was_written_anew_without_the_seal_is_found(tmp_path: Path) -> None:
    written(tmp_path, 3, key=b"").close()

    assert len(broken(tmp_path)) == 3


def test_several_processes_make_one_chain_of_several_files(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_chain import written\n"
        "written(Path(sys.argv[1]), 50, size=9000).close()"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)]
    running = [subprocess.Popen(command) for _ in range(4)]

    assert [each.wait(60) for each in running] == [0] * 4
    assert broken(tmp_path) == []
    assert [json.loads(each)["seq"] for each in lines(tmp_path)] == list(range(1, 201))
    assert len(full(tmp_path)) > 4


def test_a_new_day_begins_a_new_file(tmp_path: Path) -> None:
    made = written(tmp_path, 3)
    made.append(event(DAY_MS - 1))
    made.append(event(DAY_MS))
    made.close()

    assert [len(each.read_bytes().splitlines()) for each in everything(tmp_path)] == [4, 1]
    assert broken(tmp_path) == []


def test_a_torn_line_is_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    written(tmp_path, 3).close()
    path = tmp_path / files.CURRENT
    path.write_bytes(path.read_bytes() + b'{"chain":"half')
    written(tmp_path, 2).close()

    assert broken(tmp_path) == []
    assert len(lines(tmp_path)) == 5


def test_a_last_line_that_cannot_be_read_stops_nobody_and_is_told(tmp_path: Path) -> None:
    """The chain cannot go on behind it, so another one begins."""
    written(tmp_path, 3).close()
    path = tmp_path / files.CURRENT
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + b"\x00" * 19 + b"\n")
    written(tmp_path, 2).close()

    reasons = {each.seq: each.reason for each in broken(tmp_path)}
    assert "cannot be read" in reasons[3]
    assert "another chain" in reasons[1]


def test_a_full_disk_leaves_no_half_record(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_chain import event, written\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, -1))\n"
        "made = written(Path(sys.argv[1]), 3)\n"
        "try:\n"
        "    for number in range(99): made.append(event(number))\n"
        "except OSError: print('refused')"
    )
    command = [sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.stdout == "refused\n", done.stderr
    assert broken(tmp_path) == []
    assert len(lines(tmp_path)) > 5


def test_old_files_retire_and_the_chain_says_so(tmp_path: Path) -> None:
    """What is not in the store yet stays; a beginning that is gone without a word is found."""
    made = written(tmp_path, 12, size=1600)
    before = len(full(tmp_path))
    waiting = retire(tmp_path, made, 10**15, lambda record: record.seq <= 2)
    young = retire(tmp_path, made, 1001, lambda record: True)
    old = retire(tmp_path, made, 1006, lambda record: True)
    made.append(event(99))
    made.close()
    left = json.loads(lines(tmp_path)[0])["seq"]
    holds = broken(tmp_path)
    full(tmp_path)[0].unlink()

    assert (len(waiting), len(young)) == (0, 0)
    assert 0 < len(old) < before
    assert left > 1
    assert holds == []
    assert "are missing" in broken(tmp_path)[0].reason


def test_content_that_nobody_erased_may_not_be_gone(tmp_path: Path) -> None:
    """Without a word in the chain an erased record is a tampered one."""
    written(tmp_path, 4).close()
    path = tmp_path / files.CURRENT
    records = [chain.decode(each) for each in path.read_bytes().splitlines()]
    records[1] = chain.erased(records[1])
    path.write_bytes(b"".join(chain.line(each) for each in records))
    (found,) = broken(tmp_path)

    made = ChainFiles(tmp_path, KEY)
    made.open()
    made.append(AuditEvent(2000, chain.ERASED, "ok", detail={"records": "2-2"}))
    made.close()

    assert (found.seq, "content is gone" in found.reason) == (2, True)
    assert broken(tmp_path) == []


def test_ranges_name_every_number() -> None:
    numbers = [1, 2, 3, 7, 9, 10, *range(100, 5000, 2)]
    texts = list(chain.ranges(numbers))

    assert texts[0].startswith("1-3,7-7,9-10,100-100,")
    assert len(texts) == 3
    found = [
        n for text in texts for first, last in chain.ranges_of(text) for n in range(first, last + 1)
    ]
    assert found == numbers


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    made = written(tmp_path, 12, size=1600)
    made.close()

    assert {os.stat(each).st_mode & 0o777 for each in tmp_path.iterdir()} == {0o600}
