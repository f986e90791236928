"""The model of large fleets, with the costs that were stored last."""

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
COSTS: dict[str, float] = json.loads((FOLDER / "costs.json").read_text())


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(FOLDER)
    import model  # the benchmark is scripts, not a package

    return model


def test_nothing_that_hosts_share_grows_faster_than_their_number(model: Any) -> None:
    """Ten times the hosts are at most ten times the load, on every part and for every worker."""
    for part in model.PARTS:
        for hosts in (100, 1000, 10_000):
            before, after = (part.load(COSTS, model.Fleet(n, 100.0)) for n in (hosts, 10 * hosts))
            assert after <= 10.01 * before, part.name


@pytest.mark.parametrize(
    ("cost", "first"),
    [
        ("pg_row_log_bytes", "PostgreSQL: log of changes"),
        ("rest_pg_connections", "PostgreSQL: connections"),
        ("pg_shipment_us", "PostgreSQL: records"),
        ("redis_claim_us", "Redis: its one thread"),
    ],
)
def test_what_costs_a_hundred_thousand_times_as_much_is_full_first(
    cost: str, first: str, model: Any
) -> None:
    costs = COSTS | {cost: COSTS[cost] * 1e5}
    (said,) = [
        each
        for each in model.table(costs, lambda hosts: model.Fleet(hosts, 100.0))
        if each.startswith("First: ")
    ]
    assert said == f"First: {first}."


def test_a_part_is_full_where_its_load_is_what_is_planned(model: Any) -> None:
    def fleet(hosts: float) -> Any:
        return model.Fleet(hosts, 100.0)

    for part in model.PARTS:
        hosts = model.full_at(part, COSTS, fleet)
        if hosts != float("inf"):
            planned = part.limit(fleet(hosts)) * fleet(hosts).planned
            assert part.load(COSTS, fleet(hosts)) == pytest.approx(planned)
