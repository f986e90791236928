"""State of a process and of a host: one contract, and workers that die."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

import pytest
from llm_gateway_api import DONE, Denial, Grant, Take
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
    file = tmp_path / table.NAME
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
            (cell,) = made.lend([f"key {number}"], float(number))
            cell.until = number + 10.0
            made.write([cell])
        with pytest.raises(TableFullError):
            for number in range(100):
                (cell,) = made.lend([f"more {number}"], 1000.0)
                cell.until = 1e9
                made.write([cell])
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
        (cell,) = made.lend(["first"], 1.0)
        place = cell.place
        cell.value, cell.until = 7.0, 2.0
        made.write([cell])
        for number in range(8):
            (cell,) = made.lend([f"other {number}"], 3.0)
            cell.value, cell.until = 5.0, 9.0 if cell.place == place else 4.0
            made.write([cell])
        (cell,) = made.lend(["first"], 5.0)
    made.close()

    assert cell.place != place
    assert cell.value == 0.0


def test_a_record_that_goes_to_another_key_of_the_same_step_is_not_used_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the one that loses it is well known."""
    monkeypatch.setattr(table, "RECORDS", 2)
    made = Table(tmp_path)
    with made.locked():
        made.write(made.lend(["0"], 1.0))
        for number in range(1, 9):  # half of them look where "0" is
            places = [each.place for each in made.lend([str(number), "0"], 2.0)]
            assert len(set(places)) == 2
    made.close()


@pytest.mark.parametrize("seed", range(20))
async def test_two_workers_in_turn_count_like_one(tmp_path: Path, seed: int) -> None:
    """Whoever made the last change, and whether it was one: what is known of a key is current."""
    random = Random(seed)
    alone = ProcessState()
    held: list[tuple[HostState, Grant, Grant]] = []
    async with (one := HostState(tmp_path)).open(), (other := HostState(tmp_path)).open():
        for _ in range(400):
            worker = random.choice((one, one, one, other))
            if held and random.random() < 0.4:
                taker, mine, theirs = held.pop(random.randrange(len(held)))
                amounts = [
                    0 if each.kind == "slots" else random.randint(0, 4) for each in mine.takes
                ]
                taker.settle(mine, amounts)
                alone.settle(theirs, amounts)
                continue
            keys = random.sample(range(6), random.randint(1, 4))
            takes = [
                Take(f"w{key}", random.randint(1, 3), 40, "window", seconds=600)
                if key % 2
                else Take(f"s{key}", 1, 9, "slots")
                for key in keys
            ]
            answer, expected = await worker.take(takes), await alone.take(takes)
            assert type(answer) is type(expected)
            assert answer.remaining == expected.remaining
            if isinstance(answer, Grant) and isinstance(expected, Grant):
                held.append((worker, answer, expected))
        names = [f"{'w' if key % 2 else 's'}{key}" for key in range(6)]
        for worker in (one, other):
            assert list(await worker.used(names)) == list(await alone.used(names))


class Turning:
    """A turn of the loop that ends when it is told to."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def before_answers(self, work: Callable[[], None]) -> None:
        self.work.append(work)

    def end(self) -> None:
        work, self.work = self.work, []
        for each in work:
            each()


async def test_what_ends_in_a_turn_is_settled_at_its_end_and_for_all_at_once(
    tmp_path: Path,
) -> None:
    turn = Turning()
    takes = [Take("w", 10, 100, "window", seconds=600), Take("s", 1, 3, "slots")]
    async with (one := HostState(tmp_path, turn)).open(), (other := HostState(tmp_path)).open():
        grants = [await one.take(takes) for _ in range(3)]
        for grant in grants:
            assert isinstance(grant, Grant)
            assert one.settle(grant, [4, 0]) is DONE
        assert list(await other.used(["w", "s"])) == [30, 3]

        assert len(turn.work) == 1
        turn.end()
        assert list(await other.used(["w", "s"])) == [12, 0]


async def test_a_take_in_the_turn_sees_what_ended_in_it(tmp_path: Path) -> None:
    turn, take = Turning(), Take("s", 1, 1, "slots")
    async with (state := HostState(tmp_path, turn)).open():
        for _ in range(3):
            grant = await state.take([take])
            assert isinstance(grant, Grant)
            state.settle(grant, [0])
        turn.end()
        assert list(await state.used(["s"])) == [0]


async def test_what_was_used_as_it_was_taken_needs_no_lock(tmp_path: Path) -> None:
    turn = Turning()
    async with (state := HostState(tmp_path, turn)).open():
        grant = await state.take([Take("r", 1, 5)])
        assert isinstance(grant, Grant)
        state.settle(grant, [1])

        assert turn.work == []


async def test_what_a_turn_could_not_settle_the_next_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turn, take = Turning(), Take("w", 10, 100, "window", seconds=600)
    async with (state := HostState(tmp_path, turn)).open(), (other := HostState(tmp_path)).open():
        grants = [await state.take([take]) for _ in range(2)]
        for grant, fails in zip(grants, (True, False), strict=True):
            assert isinstance(grant, Grant)
            state.settle(grant, [4])
            with monkeypatch.context() as broken:
                if fails:
                    broken.setattr(state._table, "lock", _no_locks)
                    with pytest.raises(OSError):
                        turn.end()
                else:
                    turn.end()

        assert list(await other.used(["w"])) == [8]


def _no_locks() -> None:
    raise OSError("no locks available")


async def test_a_worker_that_ends_settles_before(tmp_path: Path) -> None:
    async with (state := HostState(tmp_path, Turning())).open():
        grant = await state.take([Take("w", 10, 100, "window", seconds=600)])
        assert isinstance(grant, Grant)
        state.settle(grant, [4])
    async with (after := HostState(tmp_path)).open():
        assert list(await after.used(["w"])) == [4]


async def test_a_key_without_a_place_does_not_keep_others_from_being_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "RECORDS", 2)
    turn, window = Turning(), Take("w", 10, 100, "window", seconds=600)
    async with (state := HostState(tmp_path, turn)).open():
        brief = await state.take([Take("b", 1, 5, rate=1e9)])
        grants = [await state.take([window]) for _ in range(2)]
        await state.take([Take("x", 1, 100, "window", seconds=600)])  # in the place of "b"
        for grant, used in ((brief, 2), *((each, 4) for each in grants)):
            assert isinstance(grant, Grant)
            state.settle(grant, [used])
        turn.end()

        assert list(await state.used(["w"])) == [8]
