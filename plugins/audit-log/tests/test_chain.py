"""The chain shows every change, whoever writes it and however its writer dies."""

import subprocess
import sys
from pathlib import Path

import pytest
from llm_gateway_api import AuditEvent
from llm_gateway_audit_log.chain import ChainFile, lines, verify

KEY = b"seal"


def event(number: int) -> AuditEvent:
    return AuditEvent(1000 + number, "auth.refused", "refused", detail={"number": str(number)})


def written(path: Path, many: int, key: bytes = KEY) -> ChainFile:
    chain = ChainFile(path, key)
    chain.open()
    for number in range(many):
        chain.append(event(number))
    return chain


def test_a_whole_chain_holds(tmp_path: Path) -> None:
    written(tmp_path / "a", 20).close()

    assert list(verify(lines(tmp_path / "a"), KEY)) == []


def test_one_changed_byte_anywhere_is_found_and_located(tmp_path: Path) -> None:
    path = tmp_path / "a"
    written(path, 6).close()
    whole = path.read_bytes()
    where = 0
    for line_number, line in enumerate(whole.splitlines(keepends=True), 1):
        for at in range(where, where + len(line) - 1, 3):
            changed = bytes([whole[at] ^ 1])
            path.write_bytes(whole[:at] + changed + whole[at + 1 :])
            broken = list(verify(lines(path), KEY))
            assert broken, f"byte {at}"
            assert min(each.seq for each in broken) in (
                line_number - 1,
                line_number,
                line_number + 1,
            )
        where += len(line)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (2, 3), (2, 5)])
def test_removed_records_are_named(tmp_path: Path, first: int, last: int) -> None:
    path = tmp_path / "a"
    written(path, 8).close()
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:first] + kept[last:]))

    (broken, *_) = verify(lines(path), KEY)
    assert broken.seq == first + 1
    assert f"{first + 1} to {last}" in broken.reason


def test_a_chain_that_was_written_anew_without_the_seal_is_found(tmp_path: Path) -> None:
    written(tmp_path / "a", 3, key=b"").close()

    assert len(list(verify(lines(tmp_path / "a"), KEY))) == 3


def test_several_processes_make_one_chain(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_chain import written\n"
        "written(Path(sys.argv[1]), 50).close()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a"), str(Path(__file__).parent)]
    running = [subprocess.Popen(command) for _ in range(4)]

    assert [each.wait(60) for each in running] == [0] * 4
    assert list(verify(lines(tmp_path / "a"), KEY)) == []
    assert len(list(lines(tmp_path / "a"))) == 200


def test_a_torn_line_is_cut_off_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "a"
    written(path, 3).close()
    path.write_bytes(path.read_bytes() + b'{"chain":"half')
    written(path, 2).close()

    assert list(verify(lines(path), KEY)) == []
    assert len(list(lines(path))) == 5


def test_a_full_disk_leaves_no_half_record(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path\n"
        "from test_chain import event, written\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, -1))\n"
        "chain = written(Path(sys.argv[1]), 3)\n"
        "try:\n"
        "    for number in range(99): chain.append(event(number))\n"
        "except OSError: print('refused')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a"), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True)

    assert done.stdout == "refused\n", done.stderr
    assert list(verify(lines(tmp_path / "a"), KEY)) == []
