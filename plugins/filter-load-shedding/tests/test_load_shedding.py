"""When requests are refused, which are not, and how the gateway comes back."""

import os
from pathlib import Path
from typing import Any

import llm_gateway_api as gw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llm_gateway_filter_load_shedding.gate import Rules, moved
from llm_gateway_filter_load_shedding.memory import MIB, Memory, resident, watched
from llm_gateway_filter_load_shedding.plugin import LoadShedding
from llm_gateway_filter_load_shedding.settings import LoadSheddingSettings

RULES = Rules(0.8)
CHAT = "/v1/chat/completions"


class World:
    """The filter with memory and chance in hand; a look is a tenth of a second."""

    def __init__(self, **settings: Any) -> None:
        self.used, self.draw = 0, 0.5
        self.metrics = gw.Metrics()
        self.filter = LoadShedding(
            LoadSheddingSettings.model_validate(settings),
            metrics=self.metrics,
            memory=Memory(1000, lambda: self.used),
            chance=lambda: self.draw,
        )

    def looks(self, times: int, lag: float = 0.0) -> float:
        for _ in range(times):
            self.filter.look(lag)
        return self.filter.share

    async def asked(self, path: str = CHAT) -> gw.Seen | gw.Refusal:
        return await self.filter.inspect(gw.Arrival("r", "POST", path, "", {}, "peer", 0.0))

    def shown(self) -> dict[tuple[str, ...], float]:
        name = "gateway_filter_load_shedding_refused_total"
        (family,) = (each for each in self.metrics.families() if each.name == name)
        return {labels: family.value(*labels).value for labels in family.children}


async def test_late_event_loop_refuses() -> None:
    """With 503, a code, and when to come back; it says why in its metric."""
    world = World(retry_after_seconds=7)
    assert isinstance(await world.asked(), gw.Arrival)

    assert world.looks(20, lag=0.6) == 1.0
    refusal = await world.asked()

    assert isinstance(refusal, gw.Refusal)
    assert (refusal.status, refusal.code, refusal.retry_after) == (503, "gateway_overloaded", 7)
    assert world.shown() == {("lag",): 1.0}


async def test_full_memory_refuses() -> None:
    world = World()
    world.used = 890
    assert world.looks(20) == 0.0

    world.used = 910
    assert world.looks(20) == 1.0
    assert isinstance(await world.asked(), gw.Refusal)
    assert world.shown() == {("memory",): 1.0}


def test_one_late_tick_refuses_nobody() -> None:
    """A collection of garbage is no overload."""
    world = World()
    world.looks(10)

    assert world.looks(1, lag=0.9) == 0.0


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/admin/v1/backend-health"]
)
async def test_who_looks_after_it_is_served(path: str) -> None:
    """An orchestrator that hears no answer would make it worse; operators see what is wrong."""
    world = World()
    world.looks(20, lag=9.0)

    assert isinstance(await world.asked(path), gw.Arrival)
    assert isinstance(await world.asked(), gw.Refusal)


async def test_exempt_paths_are_a_setting() -> None:
    world = World(exempt_paths=["/v1/models"])
    world.looks(20, lag=9.0)

    assert isinstance(await world.asked("/v1/models/one"), gw.Arrival)
    assert isinstance(await world.asked("/health"), gw.Refusal)


async def test_a_share_is_refused_and_comes_back_slowly() -> None:
    """In between nothing changes; below `resume_percent` more and more are taken again."""
    world = World(resume_percent=50)
    world.used = 900
    assert world.looks(1) == 0.25
    world.draw = 0.3
    assert isinstance(await world.asked(), gw.Arrival)
    world.draw = 0.2
    assert isinstance(await world.asked(), gw.Refusal)

    world.looks(5)
    full = world.filter.share
    world.used = 600
    assert world.looks(50) == full == 1.0
    world.used = 400
    shares = [world.looks(1) for _ in range(40)]
    assert shares == sorted(shares, reverse=True)
    assert shares[9] > 0.5 and shares[-1] == 0.0


@pytest.mark.parametrize(
    ("setting", "value", "lag", "used"),
    [("max_lag_ms", 50, 0.06, 0), ("max_memory_percent", 10, 0.0, 110)],
)
def test_limits_are_settings(setting: str, value: float, lag: float, used: int) -> None:
    for settings, refused in (({setting: value}, True), ({}, False)):
        world = World(**settings)
        world.used = used
        assert (world.looks(30, lag) > 0) is refused


@given(st.lists(st.floats(0, 5), max_size=100))
def test_the_share_stays_a_share(pressures: list[float]) -> None:
    """It grows only at the limit, shrinks only below the lower one, and shrinks more slowly."""
    share = 0.0
    for pressure in pressures:
        before, share = share, moved(share, pressure, RULES)
        assert 0.0 <= share <= 1.0
        assert share <= before or pressure >= 1.0
        assert share >= before or pressure < 0.8
        assert before - share < 0.06
    for _ in range(20):
        share = moved(share, 0.0, RULES)
    assert share == pytest.approx(0.0)


def test_memory_of_a_container(tmp_path: Path) -> None:
    """Its working set, without the page cache that the kernel gives back."""
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("700000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\ninactive_file 150000\n")

    found = watched(None, 4, tmp_path)

    assert found is not None
    assert (found.limit, found.used()) == (1_000_000, 550_000)


def test_memory_of_an_older_container(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text("1000000\n")
    (folder / "memory.usage_in_bytes").write_text("700000\n")
    (folder / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 100000\n")

    found = watched(None, 1, tmp_path)

    assert found is not None
    assert (found.limit, found.used()) == (1_000_000, 600_000)


@pytest.mark.parametrize("limit", ["max", str((1 << 63) - 4096), "nonsense"])
def test_no_limit_is_no_limit(tmp_path: Path, limit: str) -> None:
    (tmp_path / "memory.max").write_text(limit)

    assert watched(None, 1, tmp_path) is None


def test_configured_limit_is_shared_by_the_workers() -> None:
    found = watched(400, 4)

    assert found is not None
    assert found.limit == 100 * MIB
    assert found.used() == pytest.approx(resident(), rel=0.2) and resident() > MIB


def test_process_memory_is_what_the_kernel_says() -> None:
    rows = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    (told,) = (int(row.split()[1]) * 1024 for row in rows if row.startswith("VmRSS"))

    assert resident() == pytest.approx(told, rel=0.2)
