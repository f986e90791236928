"""Nodes and shared servers by tier, from what was measured last.

    uv run --all-packages python tests/bench/sizing.py

Reads the rows of `run.py` (`--rows`, the stored baseline unless given) and the costs of
`fleet.py`, and prints the tables of `kernel/gateway/docs/sizing.md`.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from fleet import STORED
from model import amount, request_redis_us
from run import BASELINE

PLANNED = 0.6  # of a core, or of a server
NODE_CORES, NODE_USD = 4, 60
REDIS_USD = 30  # 2 cores
POSTGRES_CORE_USD = 30  # with 4 GB of memory
DISK_USD = 0.10  # a GB
RETENTION_DAYS = 7
COUNTED = "CPU: plain, stored keys, limits, budget and ledger: redis"
PLAIN = "CPU: plain"
STREAM = "CPU: stream of 50 events, a read each"


@dataclass(frozen=True)
class Tier:
    """`nodes` and `usd` are the bounds that the product is held to."""

    name: str
    requests: int
    nodes: str
    usd: str


TIERS = (
    Tier("development", 100, "1", "free, local"),
    Tier("startup", 1_000, "3", "$150 to 250"),
    Tier("production", 10_000, "5 to 10", "$800 to 1,200"),
    Tier("enterprise", 100_000, "20 and more", "$3,500 to 5,000"),
)


@dataclass(frozen=True)
class Request:
    """Milliseconds of a core for one request, on a node; what is counted is the same for both."""

    plain: float
    stream: float

    @classmethod
    def measured(cls, rows: Mapping[str, Mapping[str, float]]) -> "Request":
        needed = (PLAIN, COUNTED, STREAM)
        if lacking := [each for each in needed if each not in rows]:
            names = " ".join(f'--only "{each[5:]}"' for each in needed)
            raise SystemExit(
                f"{', '.join(lacking)} was not measured; run: "
                f"python tests/bench/run.py {names} --json FILE, and give --rows FILE"
            )
        counting = rows[COUNTED]["cpu_ms"] - rows[PLAIN]["cpu_ms"]
        return cls(rows[COUNTED]["cpu_ms"], rows[STREAM]["cpu_ms"] + counting)


def nodes(request_ms: float, requests: int) -> int:
    """One beyond the need, from the first tier on that has to stay up."""
    cores = requests * request_ms / 1000 / PLANNED
    return ceil(cores / NODE_CORES) + (requests >= 1000)


@dataclass(frozen=True)
class Shared:
    """What a tier needs beside its nodes."""

    redis_cores: float
    postgres_cores: float
    log_mb: float
    disk_gb: float

    @classmethod
    def of(cls, costs: Mapping[str, float], requests: int) -> "Shared":
        return cls(
            requests * request_redis_us(costs, 0.0) / 1e6,
            requests * costs["pg_row_us"] / 1e6,
            requests * costs["pg_row_log_bytes"] / 1e6,
            requests * costs["pg_row_disk_bytes"] * 86_400 * RETENTION_DAYS / 1e9,
        )

    @property
    def fleets(self) -> int:
        """Each with a Redis of its own, which runs commands on one core."""
        return ceil(self.redis_cores / PLANNED)

    @property
    def usd(self) -> float:
        cores = max(2, ceil(self.postgres_cores / PLANNED))
        return self.fleets * REDIS_USD + cores * POSTGRES_CORE_USD + self.disk_gb * DISK_USD


def tables(rows: Mapping[str, Mapping[str, float]], costs: Mapping[str, float]) -> Iterator[str]:
    request = Request.measured(rows)
    yield f"A request {request.plain:.3f} ms, a stream of 50 events {request.stream:.3f} ms."
    yield ""
    yield "| requests/s | plain, cores | streams of 50 events, cores |"
    yield "| --: | --: | --: |"
    for tier in TIERS:
        plain, stream = (
            amount(tier.requests * each / 1000 / PLANNED)
            for each in (request.plain, request.stream)
        )
        yield f"| {tier.requests:,} | {plain} | {stream} |"
    yield ""
    yield (
        "| tier | requests/s | nodes, plain to streams | bound | nodes, a month | shared, a month "
        "| together | bound |"
    )
    yield "| --- | --: | --: | --: | --: | --: | --: | --: |"
    for tier in TIERS:
        few, many = (nodes(each, tier.requests) for each in (request.plain, request.stream))
        shared = Shared.of(costs, tier.requests).usd
        usd = [
            _range("${:,.0f}", few * NODE_USD, many * NODE_USD),
            f"${shared:,.0f}",
            _range("${:,.0f}", few * NODE_USD + shared, many * NODE_USD + shared),
        ]
        at = f"{tier.requests:,}"
        if tier is TIERS[0]:
            at, usd = f"under {at}", ["free, local", "none", "free, local"]
        cells = [tier.name, at, _range("{}", few, many), tier.nodes, *usd, tier.usd]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        "| tier | Redis, cores | fleets with one each | PostgreSQL, cores for records "
        f"| its log, MB/s | its disk for {RETENTION_DAYS} days, GB |"
    )
    yield "| --- | --: | --: | --: | --: | --: |"
    for tier in TIERS[1:]:
        need = Shared.of(costs, tier.requests)
        amounts = (need.redis_cores, need.fleets, need.postgres_cores, need.log_mb, need.disk_gb)
        yield f"| {' | '.join([tier.name, *map(amount, amounts)])} |"


def _range(form: str, low: float, high: float) -> str:
    return form.format(low) if low == high else f"{form.format(low)} to {form.format(high)}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("--rows", type=Path, default=BASELINE, help="result of run.py --json")
    arguments.add_argument("--costs", type=Path, default=STORED, help="result of fleet.py --json")
    chosen = arguments.parse_args()
    rows = json.loads(chosen.rows.read_text())["rows"]
    print("\n".join(tables(rows, json.loads(chosen.costs.read_text()))))


if __name__ == "__main__":
    main()
