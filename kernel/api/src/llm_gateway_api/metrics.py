"""Counters, gauges and histograms as plain slots: counting is one addition, no library.

A child is taken once, when a configuration is bound, never per request. Reading is a walk
over all children, which whoever writes an exposition does off the event loop.
"""

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Value:
    """A counter's or gauge's value for one set of labels."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount


class Histogram:
    """Counts of observations by upper bound (seconds, mostly), their sum and number."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass(slots=True)
class Family:
    """One metric with its children by label values. `merge` is the rule across workers."""

    name: str
    help: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    merge: Literal["sum", "max", "last"] = "sum"
    children: dict[tuple[str, ...], Value | Histogram] = field(default_factory=dict)

    def value(self, *labels: str) -> Value:
        """The child of these label values, made when first asked for."""
        child = self.children.get(labels)
        if child is None:
            child = self.children[labels] = Value()
        assert isinstance(child, Value), f"{self.name} is a histogram"
        return child

    def forget(self, *labels: str) -> None:
        """Show the child of these label values no more: what it tells of is gone."""
        self.children.pop(labels, None)

    def histogram(self, *labels: str) -> Histogram:
        child = self.children.get(labels)
        if child is None:
            child = self.children[labels] = Histogram(self.bounds)
        assert isinstance(child, Histogram), f"{self.name} is no histogram"
        return child


class Metrics:
    """The families of one process, by name; a name is declared with one shape only."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._refresh: list[Callable[[], None]] = []
        self.elsewhere: Callable[[], Awaitable[Sequence[Family]]] | None = None

    def counter(self, name: str, help: str, labels: tuple[str, ...] = ()) -> Family:
        return self._declare(Family(name, help, "counter", labels))

    def gauge(
        self,
        name: str,
        help: str,
        labels: tuple[str, ...] = (),
        merge: Literal["sum", "max", "last"] = "sum",
    ) -> Family:
        return self._declare(Family(name, help, "gauge", labels, merge=merge))

    def histogram(
        self,
        name: str,
        help: str,
        labels: tuple[str, ...] = (),
        bounds: tuple[float, ...] = SECONDS,
    ) -> Family:
        return self._declare(Family(name, help, "histogram", labels, bounds))

    def before_reading(self, refresh: Callable[[], None]) -> None:
        """Call `refresh` before each reading, for gauges that are computed."""
        self._refresh.append(refresh)

    def families(self) -> Iterator[Family]:
        """All families, refreshed; safe to iterate while counting goes on."""
        for refresh in self._refresh:
            refresh()
        yield from tuple(self._families.values())

    async def everywhere(self) -> Sequence[Family]:
        """The families of all workers of this host, merged by each one's rule.

        Raises `GatewayError` (503) where the others cannot be asked.
        """
        if self.elsewhere is None:
            return tuple(self.families())
        return await self.elsewhere()

    def _declare(self, family: Family) -> Family:
        known = self._families.setdefault(family.name, family)
        if (known.kind, known.labels) != (family.kind, family.labels):
            raise ValueError(f"{family.name} is declared twice with different shapes")
        return known
