"""Fleets of any size, reckoned from what was measured on one worker: the load of each part
that all hosts share, and which of them is full first.

Nothing here was run with a thousand hosts. A load is the measured cost of an operation times
how often a fleet does it; where that depends on the fleet's size, the plugin's own code says so.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from llm_gateway.sections import Routing
from llm_gateway_filter_identity.settings import IdentitySettings
from llm_gateway_guard_provider_limits.fleet import pause as limits_pause
from llm_gateway_ledger_store.settings import LedgerSettings
from llm_gateway_limit_budget.limiter import TRUE_SECONDS
from llm_gateway_routing_least_connections.strategy import pause as connections_pause

Costs = Mapping[str, float]
HOSTS = (10, 100, 1000)
PROBE_SECONDS = Routing().health_check_interval_seconds
MONTH_SECONDS = 30 * 86400
MONTH_HOURS = 31 * 24
PARTS_OF_AN_HOUR = 16  # at most: as many as ship at the same moment
SHIP_SECONDS = LedgerSettings().ship_seconds
POLL_SECONDS = IdentitySettings().poll_seconds


@dataclass(frozen=True)
class Fleet:
    """What is assumed of a fleet. A part is planned at `planned` of what it has."""

    hosts: float
    rate: float  # requests/s for each host
    workers: int = 4
    providers: int = 10
    budgets: int = 200  # that every worker meets
    sums: int = 10  # of each budget in each hour: its keys times their models
    key_changes: float = 1 / 60  # a second
    scrape_seconds: float = 15.0
    planned: float = 0.6
    postgres_cores: float = 8.0
    postgres_connections: float = 1000.0
    log_mb: float = 100.0  # a second, of the database's disk
    disk_tb: float = 10.0
    samples: float = 200_000.0  # a second, of one Prometheus

    @property
    def requests(self) -> float:
        return self.hosts * self.rate

    @property
    def all_workers(self) -> float:
        return self.hosts * self.workers


@dataclass(frozen=True)
class Part:
    """`load` of a fleet in `unit`, of which there is `limit`; `then` is what to do about it."""

    name: str
    unit: str
    load: Callable[[Costs, Fleet], float]
    limit: Callable[[Fleet], float]
    then: str


# A worker's questions that travel together cost Redis less; under this rate they seldom do.
TOGETHER = 500.0


def busy(costs: Costs) -> float:
    """Of what a question costs a Redis that has nothing else to do and is woken for it, what it
    costs one that has others to answer."""
    alone, apart = (costs[f"redis_take_and_settle_{each}_us"] for each in ("alone", "apart"))
    return min(1.0, apart / alone)


def request_redis_us(costs: Costs, rate: float) -> float:
    """By request, of a worker with so many a second."""
    if rate >= TOGETHER:
        return costs["request_together_redis_cpu_us"]
    return costs["request_alone_redis_cpu_us"] * busy(costs)


def redis_cores(costs: Costs, fleet: Fleet) -> float:
    """Requests; and of every worker: its rest, its looks at providers' limits, and whether it
    is the one to probe a provider, or to compare a budget with the ledger."""
    everybody = fleet.all_workers
    claims = fleet.providers / PROBE_SECONDS + fleet.budgets / TRUE_SECONDS
    return (
        fleet.requests * request_redis_us(costs, fleet.rate / fleet.workers)
        + everybody * costs["rest_redis_cpu_us"]
        + everybody / limits_pause(everybody) * costs["redis_sums_us"] * busy(costs)
        + everybody * claims * costs["redis_claim_us"] * busy(costs)
        + news(costs, fleet) * costs["redis_delivery_us"]
    ) / 1e6


def news(costs: Costs, fleet: Fleet) -> float:
    """Messages delivered in a second: a change of a key to all; with `least_connections`, each
    worker's report to all."""
    everybody = fleet.all_workers
    return fleet.key_changes * everybody + everybody**2 / connections_pause(everybody)


def heard_share(costs: Costs, fleet: Fleet) -> float:
    """Of a worker's core, what it spends on what the others say."""
    return news(costs, fleet) / fleet.all_workers * costs["worker_news_us"] / 1e6


def ledger_cores(costs: Costs, fleet: Fleet) -> float:
    rate = fleet.rate / fleet.workers
    shipments = fleet.all_workers * min(rate, 1 / SHIP_SECONDS)
    return (fleet.requests * costs["pg_row_us"] + shipments * costs["pg_shipment_us"]) / 1e6


def looking_cores(costs: Costs, fleet: Fleet) -> float:
    """Every worker's looks for changed keys, its checks of the database, and its reading of
    what changed."""
    return (
        fleet.all_workers
        * (costs["rest_pg_cpu_us"] + fleet.key_changes * costs["pg_refresh_us"])
        / 1e6
    )


def summing_cores(costs: Costs, fleet: Fleet) -> float:
    """Each budget of a month compared with the ledger, on the month's last day, by one worker of
    all: the sums of its hours are added up, however many requests are in them."""
    rows = fleet.budgets * fleet.sums * MONTH_HOURS * PARTS_OF_AN_HOUR
    return rows / 1000 * costs["pg_sum_us_per_1000_hours"] / TRUE_SECONDS / 1e6


PARTS: Sequence[Part] = (
    Part(
        "Redis: its one thread",
        "cores",
        redis_cores,
        lambda fleet: 1.0,
        "several fleets, each with some of the tenants and a Redis of its own; "
        "limits and budgets only where they are wanted",
    ),
    Part(
        "PostgreSQL: records",
        "cores",
        ledger_cores,
        lambda fleet: fleet.postgres_cores,
        "more cores; `plugins.ledger_store.ship_seconds` up where a worker ships few at a time",
    ),
    Part(
        "PostgreSQL: budgets compared with the ledger",
        "cores",
        summing_cores,
        lambda fleet: fleet.postgres_cores,
        "budgets by day: a thirtieth of the hours; fewer budgets",
    ),
    Part(
        "PostgreSQL: workers looking for changes",
        "cores",
        looking_cores,
        lambda fleet: fleet.postgres_cores,
        "`plugins.filter_identity.poll_seconds` up: news carry changes meanwhile",
    ),
    Part(
        "PostgreSQL: connections",
        "",
        lambda costs, fleet: fleet.all_workers * costs["rest_pg_connections"],
        lambda fleet: fleet.postgres_connections,
        "`database.min_connections: 1`, which leaves two a worker; more on the server; "
        "several fleets, each with a database of its own",
    ),
    Part(
        "PostgreSQL: log of changes",
        "MB/s",
        lambda costs, fleet: fleet.requests * costs["pg_row_log_bytes"] / 1e6,
        lambda fleet: fleet.log_mb,
        "a quicker disk; several fleets",
    ),
    Part(
        "PostgreSQL: disk for 30 days of records",
        "TB",
        lambda costs, fleet: fleet.requests * MONTH_SECONDS * costs["pg_row_disk_bytes"] / 1e12,
        lambda fleet: fleet.disk_tb,
        "`plugins.ledger_store.retention_days` down",
    ),
    Part(
        "each worker: what the others say",
        "of a core",
        heard_share,
        lambda fleet: 0.05,
        "another strategy than `least_connections`",
    ),
    Part(
        "Prometheus: samples",
        "/s",
        lambda costs, fleet: fleet.hosts * costs["scrape_series"] / fleet.scrape_seconds,
        lambda fleet: fleet.samples,
        "a longer interval; one Prometheus for each part of the fleet",
    ),
)


def full_at(part: Part, costs: Costs, make: Callable[[float], Fleet]) -> float:
    """The hosts at which `part` carries what is planned; infinite beyond ten million."""
    low, high = 0.0, 1.0
    while _share(part, costs, make(high)) < 1.0:
        low, high = high, high * 2
        if high > 1e7:
            return float("inf")
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _share(part, costs, make(middle)) < 1 else (low, middle)
    return high


def _share(part: Part, costs: Costs, fleet: Fleet) -> float:
    return part.load(costs, fleet) / (part.limit(fleet) * fleet.planned)


def table(costs: Costs, make: Callable[[float], Fleet]) -> Iterator[str]:
    """Of one rate for each host: the parts, whichever is full first on top."""
    found = sorted(((full_at(part, costs, make), part) for part in PARTS), key=lambda each: each[0])
    one = make(1)
    yield (
        f"| {one.rate:,.0f} requests/s a host "
        f"| {' | '.join(f'{each:,} hosts' for each in HOSTS)} | of | full at | that is |"
    )
    yield f"| --- |{' --: |' * (len(HOSTS) + 3)}"
    for hosts, part in found:
        loads = [amount(part.load(costs, make(each))) for each in HOSTS]
        limit = f"{amount(part.limit(one))} {part.unit}".strip()
        cells = ["never", ""]
        if hosts != float("inf"):
            cells = [f"{amount(hosts)} hosts", f"{amount(hosts * one.rate)} requests/s"]
        yield f"| {' | '.join([part.name, *loads, limit, *cells])} |"
    yield ""
    yield f"First: {found[0][1].name}."
    yield ""


def remedies() -> Iterator[str]:
    yield "| full | then |"
    yield "| --- | --- |"
    for part in PARTS:
        yield f"| {part.name} | {part.then} |"


def amount(value: float) -> str:
    """Three digits are more than a model knows."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.3g}"
