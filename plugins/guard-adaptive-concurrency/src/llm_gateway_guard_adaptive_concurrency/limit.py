"""The limit of one deployment: additive increase, decrease by latency or by refusals. No clock.

A window is about as many answers as calls may be under way, so one round trip. At its end the
limit grows if it was in use; it shrinks in proportion once answers take longer than tolerated.
A refusal for overload cuts it at once, and for a while it grows only by one a window.

Compared are medians of windows: single answers differ by how much is said in them.
"""

from statistics import median

CUT = 0.9
CALM_SECONDS = 60.0
LEAST_SECONDS = 0.1  # between two cuts
LEAST, MOST = 8, 200  # answers of a window
QUICKER, SLOWER = 0.3, 0.1


class Limit:
    """`value` is the number of calls that may be under way at once, between `least` and `most`."""

    __slots__ = (
        "_baselines",
        "_busy",
        "_cut_at",
        "_least",
        "_most",
        "_taken",
        "_tolerance",
        "seconds",
        "value",
    )

    def __init__(self, initial: float, least: float, most: float, tolerance: float) -> None:
        self.value = float(initial)
        self.seconds = 0.0  # an answer takes, lately
        self._least, self._most, self._tolerance = float(least), float(most), tolerance
        # By whether they are streams: those are measured to their first content.
        self._baselines: dict[bool, float] = {}
        self._taken: dict[bool, list[float]] = {False: [], True: []}
        self._busy = False
        self._cut_at = float("-inf")

    def answered(self, seconds: float, running: int, streamed: bool, now: float) -> None:
        """An answer came after `seconds`; `running` calls were under way when it was asked for."""
        self.seconds += 0.1 * (seconds - self.seconds) if self.seconds else seconds
        self._busy = self._busy or running >= self.value / 2
        self._taken[streamed].append(seconds)
        if sum(map(len, self._taken.values())) >= min(MOST, max(LEAST, self.value)):
            self._window(now)

    def overloaded(self, running: int, now: float) -> None:
        """It refused, or did not come to answering; once a round trip, since the calls that are
        under way were sent by the same limit."""
        if now - self._cut_at < max(LEAST_SECONDS, self.seconds):
            return
        self._cut_at = now
        self._set(min(self.value, running) * CUT)
        self._clear()

    def _window(self, now: float) -> None:
        streamed = len(self._taken[True]) > len(self._taken[False])
        ratio = self._compared(streamed, median(self._taken[streamed]))
        gradient = max(0.5, min(1.0, self._tolerance / ratio))
        if gradient < 1.0 or self._busy:
            calm = now - self._cut_at > CALM_SECONDS
            self._set(self.value * gradient + (self.value**0.5 if calm else 1.0))
        self._clear()

    def _compared(self, streamed: bool, seconds: float) -> float:
        """How many times longer than without load; the baseline learns."""
        base = self._baselines.setdefault(streamed, seconds)
        if seconds < base:
            base += QUICKER * (seconds - base)
        elif not self._busy or self.value <= self._least:
            # Slow under load says nothing of how quick it is without.
            base += SLOWER * (seconds - base)
        self._baselines[streamed] = base
        return seconds / base if base > 0 else 1.0

    def _clear(self) -> None:
        for each in self._taken.values():
            each.clear()
        self._busy = False

    def _set(self, value: float) -> None:
        self.value = max(self._least, min(self._most, value))
