"""What was measured of deployments: a moving mean that jumps up at once and comes down slowly."""

from math import exp
from statistics import median

# Prompts of one class take comparable time to read: up to 4, 32, 256 kB, and more.
SIZES = (4_096, 32_768, 262_144)


class Measured:
    """Peak-EWMA of one deployment in one class, in seconds."""

    __slots__ = ("at", "seconds")

    def __init__(self, seconds: float, at: float) -> None:
        self.seconds = seconds
        self.at = at

    def add(self, seconds: float, now: float, decay: float) -> None:
        """A slower answer counts whole; a quicker one by the time since the last."""
        if seconds < self.seconds:
            old = exp(-max(0.0, now - self.at) / decay)
            seconds = self.seconds * old + seconds * (1 - old)
        self.seconds, self.at = seconds, now


def size_class(prompt_bytes: int) -> int:
    return sum(prompt_bytes > bound for bound in SIZES)


def middle(values: list[float]) -> float:
    """What a deployment is taken for that nobody measured: the median of the others.

    Where nobody was measured it is any number: only requests under way differ."""
    return median(values) if values else 1.0
