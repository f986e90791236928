"""How many bytes of answers this worker has put into Redis whose time is not over.

Redis knows its own size only as a whole, with all else that lies in it, and adding up its keys
takes a walk over them. What each worker has put there adds up over workers and hosts.
"""

from collections.abc import Callable

SLOT_SECONDS = 10  # answers are forgotten so many seconds late at most


class Kept:
    """`clock` in seconds. What Redis evicts, and what is replaced, is counted until its time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._by_end: dict[int, int] = {}

    def put(self, size: int, seconds: float) -> None:
        end = int((self._clock() + seconds) // SLOT_SECONDS) + 1
        self._by_end[end] = self._by_end.get(end, 0) + size

    def forget(self) -> None:
        """Everything was removed."""
        self._by_end.clear()

    def size(self) -> int:
        now = self._clock() // SLOT_SECONDS
        for end in [each for each in self._by_end if each <= now]:
            del self._by_end[end]
        return sum(self._by_end.values())
