"""Lines of several processes stay whole on one pipe."""

import os
import subprocess
import sys
from pathlib import Path

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
