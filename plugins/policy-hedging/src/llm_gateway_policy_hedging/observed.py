"""How long deployments take to their first content: a percentile of the last answers."""

from collections import deque
from math import ceil
from typing import TypeAlias

KEPT = 256
REFRESH = 8  # new answers after which the percentile is computed anew
MAX_DEPLOYMENTS = 10_000  # clients may name models as they like
Kind: TypeAlias = tuple[str, str, bool]


class Waits:
    """The last times of one deployment in one kind of request, in seconds."""

    __slots__ = ("_fresh", "_known", "_percentile", "times")

    def __init__(self, percentile: float) -> None:
        self.times: deque[float] = deque(maxlen=KEPT)
        self._percentile = percentile
        self._known = 0.0
        self._fresh = 0

    def add(self, seconds: float) -> None:
        self.times.append(seconds)
        self._fresh -= 1

    def percentile(self) -> float:
        """By nearest rank; at most `REFRESH` answers old."""
        if self._fresh <= 0:
            ordered = sorted(self.times)
            self._known = ordered[ceil(len(ordered) * self._percentile / 100) - 1]
            self._fresh = REFRESH
        return self._known


class Observed:
    """What is known of all deployments. Streams and whole answers are apart."""

    def __init__(self, percentile: float, min_samples: int) -> None:
        self._percentile = percentile
        self._min_samples = min_samples
        self._waits: dict[Kind, Waits] = {}

    def delay(self, kind: Kind) -> float | None:
        """Seconds; None where too few answers were seen."""
        waits = self._waits.get(kind)
        if waits is None or len(waits.times) < self._min_samples:
            return None
        return waits.percentile()

    def answered(self, kind: Kind, seconds: float) -> None:
        waits = self._waits.get(kind)
        if waits is None:
            if len(self._waits) >= MAX_DEPLOYMENTS:
                self._waits.clear()
            waits = self._waits[kind] = Waits(self._percentile)
        waits.add(seconds)

    def given_up(self, kind: Kind, seconds: float) -> None:
        """It had no content after `seconds`. Above the percentile that is a measurement too:
        left out, each hedge would make the next one come sooner."""
        delay = self.delay(kind)
        if delay is not None and seconds > delay:
            self.answered(kind, seconds)
