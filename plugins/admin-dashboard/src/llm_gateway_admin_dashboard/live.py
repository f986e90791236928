"""What happened in each slot of a few seconds: from the process' own counters, added up over
workers, and as series for charts."""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import accumulate

import llm_gateway_api as gw
import msgspec

SLOT = 5
KEPT = 180  # a quarter of an hour
CLASSES = ("ok", "refused", "limited", "left", "failed")
_PERCENTILES = (50, 95, 99)
_WIDE = 12  # slots that a chart's percentile looks back over


class Point(msgspec.Struct, array_like=True):
    """One slot that ended at the Unix time `at`. `latency` are counts by the bounds of
    ``gateway_request_duration_seconds``; the last two are of that moment."""

    at: int
    requests: dict[str, int]
    latency: list[int]
    errors: dict[str, int]
    tokens_in: int
    tokens_out: int
    cost: float
    hits: int
    misses: int
    fallbacks: int
    in_flight: int
    streams: int


class Totals(msgspec.Struct):
    """The counters as they stand."""

    requests: dict[str, float]
    latency: list[int]
    errors: dict[str, float]
    tokens: dict[str, float]
    plain: dict[str, float]


_PLAIN = {
    "gateway_cost_usd_total",
    "gateway_cache_hits_total",
    "gateway_cache_misses_total",
    "gateway_fallbacks_total",
    "gateway_requests_in_flight",
    "gateway_streams_open",
}


def totals(families: Iterable[gw.Family]) -> Totals:
    found = Totals({}, [0] * (len(gw.SECONDS) + 1), {}, {}, dict.fromkeys(_PLAIN, 0.0))
    for family in families:
        rows = tuple(family.children.items())
        if family.name == "gateway_request_duration_seconds":
            for _, child in rows:
                assert isinstance(child, gw.Histogram)
                found.latency = list(child.counts)
        elif family.name == "gateway_requests_total":
            _add(found.requests, ((class_of(labels[0]), child) for labels, child in rows))
        elif family.name == "gateway_provider_errors_total":
            _add(found.errors, ((labels[1], child) for labels, child in rows))
        elif family.name == "gateway_request_tokens_total":
            _add(found.tokens, ((labels[0], child) for labels, child in rows))
        elif family.name in _PLAIN:
            _add(found.plain, ((family.name, child) for _, child in rows))
    return found


def class_of(status: str) -> str:
    """How a request with this status ended, for people."""
    if status == "429":
        return "limited"
    if status == "499":
        return "left"
    return "ok" if status < "400" else "refused" if status < "500" else "failed"


class Slots:
    """The points of this process; `take` is called at the end of each slot."""

    def __init__(self) -> None:
        self.points: deque[Point] = deque(maxlen=KEPT)
        self._before: Totals | None = None

    def take(self, families: Iterable[gw.Family], at: int) -> None:
        now = totals(families)
        before, self._before = self._before, now
        if before is None:
            return
        plain = {name: value - before.plain[name] for name, value in now.plain.items()}
        tokens = _less(now.tokens, before.tokens)
        self.points.append(
            Point(
                at,
                _less(now.requests, before.requests),
                [one - other for one, other in zip(now.latency, before.latency, strict=True)],
                _less(now.errors, before.errors),
                tokens.get("input", 0),
                tokens.get("output", 0),
                plain["gateway_cost_usd_total"],
                int(plain["gateway_cache_hits_total"]),
                int(plain["gateway_cache_misses_total"]),
                int(plain["gateway_fallbacks_total"]),
                int(now.plain["gateway_requests_in_flight"]),
                int(now.plain["gateway_streams_open"]),
            )
        )


def added(parts: Iterable[Sequence[Point]]) -> list[Point]:
    """The points of several workers as those of one, oldest first, without gaps."""
    found: dict[int, Point] = {}
    for part in parts:
        for each in part:
            known = found.get(each.at)
            found[each.at] = each if known is None else _sum(known, each)
    if not found:
        return []
    nothing = [0] * (len(gw.SECONDS) + 1)
    return [
        found.get(at) or Point(at, {}, nothing, {}, 0, 0, 0.0, 0, 0, 0, 0, 0)
        for at in range(min(found), max(found) + SLOT, SLOT)
    ]


def percentile(counts: Sequence[int], share: float) -> float | None:
    """Seconds, by straight lines between a histogram's bounds; None where nothing was timed.

    What is longer than the last bound counts as that bound.
    """
    sums = list(accumulate(counts))
    if not sums or not sums[-1]:
        return None
    rank = share / 100 * sums[-1]
    at = bisect_left(sums, rank)
    if at >= len(gw.SECONDS):
        return gw.SECONDS[-1]
    low = gw.SECONDS[at - 1] if at else 0.0
    before = sums[at - 1] if at else 0
    return low + (gw.SECONDS[at] - low) * (rank - before) / (sums[at] - before)


def latencies(points: Sequence[Point]) -> list[float | None]:
    """Milliseconds at the percentiles, over all of `points`."""
    counts = [sum(column) for column in zip(*(each.latency for each in points), strict=True)]
    found = [percentile(counts, share) for share in _PERCENTILES]
    return [None if each is None else round(each * 1000, 1) for each in found]


def series(points: Sequence[Point]) -> dict[str, object]:
    """For the charts: one list for each line, all as long as `at`."""
    classes = [each for each in CLASSES if any(p.requests.get(each) for p in points)] or ["ok"]
    failures = sorted({name for p in points for name, count in p.errors.items() if count})
    timed = [latencies(points[max(0, n - _WIDE + 1) : n + 1]) for n in range(len(points))]
    return {
        "at": [p.at for p in points],
        "requests": {c: [_rate(p.requests.get(c, 0)) for p in points] for c in classes},
        "latency": {f"p{share}": [row[n] for row in timed] for n, share in enumerate(_PERCENTILES)},
        "errors": {name: [_rate(p.errors.get(name, 0)) for p in points] for name in failures},
        "tokens": {
            "input": [_rate(p.tokens_in) for p in points],
            "output": [_rate(p.tokens_out) for p in points],
        },
        "spend": {"USD a minute": [round(p.cost * 60 / SLOT, 6) for p in points]},
        "open": {
            "requests": [p.in_flight for p in points],
            "streams": [p.streams for p in points],
        },
    }


def _rate(count: float) -> float:
    return round(count / SLOT, 3)


def _add(into: dict[str, float], rows: Iterable[tuple[str, object]]) -> None:
    for name, child in rows:
        assert isinstance(child, gw.Value)
        into[name] = into.get(name, 0.0) + child.value


def _less(now: dict[str, float], before: dict[str, float]) -> dict[str, int]:
    less = {name: int(value - before.get(name, 0.0)) for name, value in now.items()}
    return {name: value for name, value in less.items() if value}


def _sum(one: Point, other: Point) -> Point:
    return Point(
        one.at,
        _both(one.requests, other.requests),
        [a + b for a, b in zip(one.latency, other.latency, strict=True)],
        _both(one.errors, other.errors),
        one.tokens_in + other.tokens_in,
        one.tokens_out + other.tokens_out,
        one.cost + other.cost,
        one.hits + other.hits,
        one.misses + other.misses,
        one.fallbacks + other.fallbacks,
        one.in_flight + other.in_flight,
        one.streams + other.streams,
    )


def _both(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {*one, *other}}
