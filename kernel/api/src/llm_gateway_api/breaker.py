"""Whether something that may fail is asked at all: it costs one time-out now and then.

For what a plugin can do without (a cache); providers have guards.
"""

from collections.abc import Callable

FIRST_PAUSE_SECONDS = 0.5


class Breaker:
    """Opens after `threshold` failures in a row; then one call at a time tries again, after
    pauses that double up to `most` seconds."""

    def __init__(self, threshold: int, most: float, clock: Callable[[], float]) -> None:
        self._threshold = threshold
        self._most = most
        self._clock = clock
        self._failures = 0
        self._pause = 0.0
        self._until = 0.0

    @property
    def open(self) -> bool:
        return self._failures >= self._threshold

    def admits(self) -> bool:
        """Whether this call may ask; the one that tries keeps others out meanwhile."""
        if not self.open:
            return True
        now = self._clock()
        if now < self._until:
            return False
        self._until = now + max(self._pause, FIRST_PAUSE_SECONDS)
        return True

    def succeeded(self) -> None:
        self._failures, self._pause = 0, 0.0

    def failed(self) -> None:
        self._failures += 1
        if self.open:
            self._pause = min(self._most, self._pause * 2 or FIRST_PAUSE_SECONDS)
            self._until = self._clock() + self._pause
