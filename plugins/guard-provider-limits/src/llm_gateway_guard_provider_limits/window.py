"""How much was taken in the last minute, second by second. Pure."""

from collections import deque

SECONDS = 60


class Window:
    """At most `limit` in any 60 seconds; what does not fit even alone may go alone.

    Kept by whole seconds, so that an amount counts for up to a second longer than it has to.
    """

    __slots__ = ("_slots", "limit", "total")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.total = 0.0
        self._slots: deque[list[float]] = deque()  # [second, amount], oldest first

    def wait(self, amount: float, now: float) -> float | None:
        """Seconds until `amount` fits, 0.0 for now; None for never."""
        self._forget(now)
        if self.limit <= 0:
            return None
        spare = self.limit - self.total
        if amount <= spare or self.total <= 0:
            return 0.0
        for second, taken in self._slots:
            spare += taken
            if amount <= spare:
                return second + SECONDS + 1 - now
        return self._slots[-1][0] + SECONDS + 1 - now

    def add(self, amount: float, now: float, at: float | None = None) -> None:
        """Count `amount`, also a negative one, at the time `at` if that is within the window."""
        self._forget(now)
        second = float(int(now if at is None else at))
        if second + SECONDS + 1 <= now:
            return
        self.total += amount
        for index in range(len(self._slots), 0, -1):
            slot = self._slots[index - 1]
            if slot[0] == second:
                slot[1] += amount
                return
            if slot[0] < second:
                self._slots.insert(index, [second, amount])
                return
        self._slots.appendleft([second, amount])

    def _forget(self, now: float) -> None:
        while self._slots and self._slots[0][0] + SECONDS + 1 <= now:
            self.total -= self._slots.popleft()[1]
