"""What became of attempts, by deployment: counted by each worker, told for all of the host."""

from collections.abc import Iterable, Mapping

import llm_gateway_api as gw

BY = ("provider", "model")
ATTEMPTS, SECONDS = "gateway_deployment_attempts_total", "gateway_deployment_seconds_total"


class Stats:
    """Counts attempts; models that only a client named are counted nowhere."""

    def __init__(self, metrics: gw.Metrics) -> None:
        self._attempts = metrics.counter(ATTEMPTS, "attempts by result", (*BY, "result"))
        self._seconds = metrics.counter(SECONDS, "duration of good attempts", BY)

    def started(self, arrival: gw.Arrival) -> None: ...

    def attempt(self, arrival: gw.Arrival, target: gw.Target, outcome: gw.Outcome) -> None:
        if not target.known:
            return
        result = "left" if outcome.cancelled else outcome.failure or "ok"
        self._attempts.value(target.provider, target.model, result).inc()
        if result == "ok":
            self._seconds.value(target.provider, target.model).inc(outcome.duration)

    def first_content(self, arrival: gw.Arrival, target: gw.Target) -> None: ...

    def finished(self, arrival: gw.Arrival, outcome: gw.Outcome) -> None: ...


def rows(families: Iterable[gw.Family]) -> list[Mapping[str, object]]:
    """One for each deployment that was asked: attempts, failures, share, mean of the good."""
    children = {each.name: each.children for each in families}
    results: dict[tuple[str, str], dict[str, float]] = {}
    for (provider, model, result), child in children.get(ATTEMPTS, {}).items():
        results.setdefault((provider, model), {})[result] = _value(child)
    total = sum(sum(each.values()) for each in results.values())
    found: list[Mapping[str, object]] = []
    for (provider, model), counts in sorted(results.items()):
        good, tried = counts.get("ok", 0.0), sum(counts.values())
        seconds = _value(children.get(SECONDS, {}).get((provider, model)))
        found.append(
            {
                "provider": provider,
                "model": model,
                "attempts": int(tried),
                "failed": int(tried - good - counts.get("left", 0.0)),
                "share": round(tried / total, 4) if total else 0.0,
                "mean_ms": round(seconds / good * 1000, 3) if good else None,
                "failures": {n: int(v) for n, v in counts.items() if n not in ("ok", "left")},
            }
        )
    return found


def _value(child: gw.Value | gw.Histogram | None) -> float:
    return child.value if isinstance(child, gw.Value) else 0.0


_: type[gw.Observer] = Stats
