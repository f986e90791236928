"""What one worker asks of the servers that a fleet shares: by request, and by second at rest."""

import time
import urllib.request
from collections.abc import Callable
from statistics import median

from costs import Costs
from meters import PostgresMeter, RedisMeter, passed
from rig import Process, Rig, System
from scenarios import BUDGET, FLEET, ON_SERVERS, TENANT, chat

SETTLE_SECONDS = 2.5  # until what was asked for is shipped, and counters have been told
REST_SECONDS = 12.0
BODY = chat(model="gpt-4o-mini")


class Meters:
    """Redis, PostgreSQL and the worker together."""

    def __init__(self, rig: Rig) -> None:
        self.worker: Process | None = None
        self._redis = RedisMeter(rig.server("redis"))
        self._postgres = PostgresMeter(rig.server("postgres"))

    def over(self, work: Callable[[], object], many: float) -> Costs:
        """What passed while `work` ran, for each of `many`."""
        before = self._read()
        work()
        after = self._read()
        return {name: value / many for name, value in passed(before, after).items()}

    def connections(self) -> float:
        return self._postgres.one(
            "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
            "AND pid <> pg_backend_pid()"
        )

    def _read(self) -> Costs:
        return {
            **{f"redis_{name}": value for name, value in self._redis.read().items()},
            **{f"pg_{name}": value for name, value in self._postgres.read().items()},
            "worker_us": self.worker.cpu() * 1e6 if self.worker is not None else 0.0,
        }


def resting(meters: Meters) -> Costs:
    """What passes in a second in which nobody asks for anything."""
    return meters.over(lambda: time.sleep(REST_SECONDS), REST_SECONDS)


def footprint(rig: Rig) -> Costs:
    meters = Meters(rig)
    nobody = resting(meters)  # the servers have work of their own
    system = rig.gateway(ON_SERVERS, FLEET)
    system.admit(TENANT, BUDGET)
    rig.load(system, BODY, clients=32, total=1000)
    meters.worker = system.process
    costs: Costs = {}

    def closed(clients: int, total: int) -> Costs:
        def work() -> None:
            rig.load(system, BODY, clients=clients, total=total)
            time.sleep(SETTLE_SECONDS)

        return meters.over(work, total)

    time.sleep(SETTLE_SECONDS)
    rest = resting(meters)
    for name in ("redis_cpu_us", "redis_commands", "pg_cpu_us", "pg_transactions", "worker_us"):
        costs[f"rest_{name}"] = max(0.0, rest[name] - nobody[name])
    costs["rest_pg_connections"] = meters.connections()
    for name, clients, total in (("alone", 1, 600), ("together", 32, 4000)):
        rounds = [closed(clients, total) for _ in range(3)]
        for key in ("redis_cpu_us", "redis_scripts", "redis_bytes", "pg_cpu_us", "worker_us"):
            costs[f"request_{name}_{key}"] = max(0.0, median(each[key] for each in rounds))
    costs["request_pg_log_bytes"] = rounds[-1]["pg_log_bytes"]
    return costs | _scrape(system, meters)


def _scrape(system: System, meters: Meters) -> Costs:
    """The page of metrics of a worker that has served a few models only."""
    url = f"http://127.0.0.1:{system.metrics_port}/metrics"
    pages: list[bytes] = []

    def read() -> None:
        with urllib.request.urlopen(url, timeout=10) as page:
            pages.append(page.read())

    def several() -> None:
        for _ in range(20):
            read()

    work = meters.over(several, 20)
    series = sum(line[:1] != b"#" for line in pages[-1].splitlines())
    return {
        "scrape_worker_us": work["worker_us"],
        "scrape_series": series,
        "scrape_bytes": len(pages[-1]),
    }
