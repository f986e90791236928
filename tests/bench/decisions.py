"""What a decision costs: plan, guards and the way to the next target, by number of deployments.

    uv run --all-packages python tests/bench/decisions.py

Microseconds of CPU time for each request, median of rounds; no socket, no provider.
"""

import asyncio
import json
from statistics import median
from time import monotonic, process_time

import llm_gateway_api as gw
from llm_gateway.guarding import Guarding
from llm_gateway.observe import Counts
from llm_gateway.progress import Onward, Progress
from llm_gateway.routing import Router
from llm_gateway_filter_identity.residency import Residency
from llm_gateway_guard_bulkhead.guard import Bulkhead
from llm_gateway_guard_bulkhead.settings import BulkheadSettings
from llm_gateway_guard_circuit_breaker.guard import CircuitBreaker
from llm_gateway_guard_circuit_breaker.settings import BreakerSettings
from llm_gateway_guard_provider_limits.guard import ProviderLimits
from llm_gateway_policy_retry.policy import RetryPolicy
from llm_gateway_policy_retry.settings import RetrySettings
from llm_gateway_routing_basic.strategies import SmoothWeighted
from msgspec import structs

ROUNDS, TIMES = 9, 200
ASKED = gw.Asked(
    gw.Arrival("r", "POST", "/", "", {}, "", 0.0), "m", "chat", False, 2000, False, False
)
BOUND = structs.replace(
    ASKED, arrival=structs.replace(ASKED.arrival, principal=gw.Principal(regions=frozenset({"eu"})))
)


async def measured(deployments: int) -> dict[str, float]:
    """Median µs of the plan, of the same with a filter for residency (of a caller without and
    with regions), of all guards' admission and report, and of one failure."""
    metrics = gw.Metrics()
    names = [f"p{at}" for at in range(deployments)]
    targets = tuple(gw.Target(name, "m", region="eu") for name in names)
    providers = {name: gw.ProviderSettings() for name in names}
    router = Router({}, {"m": targets}, None, (), (), SmoothWeighted())
    filters = (("residency", Residency()),)
    filtered = Router({}, {"m": targets}, None, filters, (), SmoothWeighted())
    guards: list[gw.Guard] = [
        CircuitBreaker(BreakerSettings(), clock=monotonic, metrics=metrics),
        ProviderLimits(providers=providers, clock=monotonic, metrics=metrics),
        Bulkhead(BulkheadSettings(), metrics=metrics),
    ]
    guarding = Guarding.of(guards, dict.fromkeys(names, 60.0))
    retry = RetryPolicy(RetrySettings(), providers=providers, clock=monotonic)
    onward = Onward((("retry", retry),), Counts(metrics))
    plans: list[float] = []
    idle: list[float] = []
    bound: list[float] = []
    guarded: list[float] = []
    moved: list[float] = []
    for _ in range(ROUNDS):
        start = process_time()
        for _ in range(TIMES):
            plan = router.plan(ASKED)
        plans.append(process_time() - start)
        for took, asked in ((idle, ASKED), (bound, BOUND)):
            start = process_time()
            for _ in range(TIMES):
                filtered.plan(asked)
            took.append(process_time() - start)
        done = gw.Outcome(plan[0], None, status=200, duration=0.1)
        start = process_time()
        for _ in range(TIMES):
            leases = await guarding.admit(plan[0], ASKED, 1e12)
            assert not isinstance(leases, gw.Refusal)
            guarding.report(leases, done)
        guarded.append(process_time() - start)
        bad = gw.Outcome(plan[0], gw.FailureClass.CONNECT, status=502)
        start = process_time()
        for _ in range(TIMES):
            progress = Progress(ASKED, list(plan), plan[0])
            progress.add(bad, monotonic())
            if deployments > 1:
                await onward.move(progress, 1e12, [])
        moved.append(process_time() - start)
    return {
        name: round(median(each) / TIMES * 1e6, 2)
        for name, each in (
            ("plan", plans),
            ("residency", idle),
            ("bound", bound),
            ("guards", guarded),
            ("next", moved),
        )
    }


if __name__ == "__main__":
    for count in (1, 10, 100, 1000):
        print(json.dumps({"deployments": count, **asyncio.run(measured(count))}))
