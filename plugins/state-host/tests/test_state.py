"""State of a process and of a host: one contract, and workers that die."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from llm_gateway_api import Denial, Grant, Take
from llm_gateway_state_host import table
from llm_gateway_state_host.host import HostState
from llm_gateway_state_host.process import ProcessState
from llm_gateway_state_host.table import Table, TableFullError
from llm_gateway_testkit.states import Pair, StateSuite


class TestProcess(StateSuite):
    @pytest.fixture
    async def states(self) -> AsyncIterator[Pair]:
        state = ProcessState()
        async with state.open():
            yield state, state


class TestHost(StateSuite):
    @pytest.fixture
    async def states(self, tmp_path: Path) -> AsyncIterator[Pair]:
        async with AsyncExitStack() as stack:
            made = HostState(tmp_path / "state"), HostState(tmp_path / "state")
            for each in made:
                await stack.enter_async_context(each.open())
            yield made


WORKER = """
import asyncio, sys
from pathlib import Path
from llm_gateway_api import Grant, Take
from llm_gateway_state_host.host import HostState

async def main():
    state = HostState(Path(sys.argv[1]))
    async with state.open():
        mine = 0
        for _ in range(400):
            grant = await state.take([Take("k", 1, 500), Take("w", 1, 10_000, "window")])
            mine += isinstance(grant, Grant)
        print(mine, flush=True)
        if sys.argv[2:] == ["die"]:
            await state.take([Take("s", 1, 3, "slots")])
            import os; os.kill(os.getpid(), 9)

asyncio.run(main())
"""


def workers(folder: Path, many: int, *arguments: str) -> list[int]:
    """What each of `many` processes got."""
    command = [sys.executable, "-c", WORKER, str(folder), *arguments]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(many)]
    return [int(each.communicate(timeout=60)[0]) for each in running]


def test_four_processes_share_one_bucket_exactly(tmp_path: Path) -> None:
    got = workers(tmp_path, 4)

    assert sum(got) == 500


async def test_slots_of_a_killed_worker_come_back(tmp_path: Path) -> None:
    """Not after a time, but as soon as another worker looks."""
    take = Take("s", 1, 3, "slots", seconds=3600)
    async with (state := HostState(tmp_path)).open():
        workers(tmp_path, 3, "die")
        held = await state.used(["s"])
        mine = isinstance(await state.take([take]), Grant)  # not where all three held one at once
        state._table.bury()

        assert held[0] > 0
        assert list(await state.used(["s"])) == [int(mine)]


async def test_state_outlives_its_workers(tmp_path: Path) -> None:
    take = Take("k", 4, 5, "window", seconds=600)
    async with (state := HostState(tmp_path)).open():
        await state.take([take])
    async with (state := HostState(tmp_path)).open():
        assert isinstance(await state.take([take]), Denial)


async def test_after_a_restart_of_the_machine_the_file_is_made_anew(tmp_path: Path) -> None:
    """Its times were those of another clock."""
    async with (state := HostState(tmp_path)).open():
        await state.take([Take("k", 4, 5, "window", seconds=600)])
    file = tmp_path / "table"
    file.write_bytes(file.read_bytes().replace(b"-", b"_", 6))

    async with (state := HostState(tmp_path)).open():
        assert list(await state.used(["k"])) == [0]


def test_records_that_say_nothing_are_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "RECORDS", 64)
    made = Table(tmp_path)
    with made.locked():
        for number in range(1000):
            ((place, cell, _),) = made.find([f"key {number}"], (0,), float(number))
            cell.until = number + 10.0
            made.write([(place, cell, True)])
        with pytest.raises(TableFullError):
            for number in range(100):
                ((place, cell, _),) = made.find([f"more {number}"], (0,), 1000.0)
                cell.until = 1e9
                made.write([(place, cell, True)])
    made.close()


async def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    """The address of a socket may have 107 bytes; a folder may be deeper."""
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    async with (state := HostState(folder)).open():
        state.publish("topic", b"message")
        assert (folder / "news-0").exists()


def test_a_key_whose_record_went_to_another_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was last is a hint and no more."""
    monkeypatch.setattr(table, "RECORDS", 8)
    made = Table(tmp_path)
    with made.locked():
        ((place, cell, _),) = made.find(["first"], (0,), 1.0)
        cell.value, cell.until = 7.0, 2.0
        made.write([(place, cell, True)])
        for number in range(8):
            ((other, cell, _),) = made.find([f"other {number}"], (0,), 3.0)
            cell.value, cell.until = 5.0, 9.0 if other == place else 4.0
            made.write([(other, cell, True)])
        ((again, cell, _),) = made.find(["first"], (0,), 5.0)
    made.close()

    assert again != place
    assert cell.value == 0.0
