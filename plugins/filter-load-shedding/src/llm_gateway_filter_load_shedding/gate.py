"""How large a share of the requests is refused: (share, pressure) → share. Pure.

Pressure is what is in use as a part of its limit, 1.0 at the limit. The share grows while there
is too much, holds in between, and shrinks, more slowly, once there is room: whoever lets
everybody in again at once is full again at once.
"""

import msgspec

UP, DOWN = 0.25, 0.05


class Rules(msgspec.Struct, frozen=True):
    """`resume` is the pressure below which the share shrinks."""

    resume: float


def moved(share: float, pressure: float, rules: Rules) -> float:
    """The share after one more look. A pressure of 2 and more refuses everybody at once."""
    if pressure >= 2.0:
        return 1.0
    if pressure >= 1.0:
        return min(1.0, share + UP)
    if pressure < rules.resume:
        return max(0.0, share - DOWN)
    return share


def smoothed(before: float, lag: float) -> float:
    """The lag that counts: one late tick (a collection of garbage) is not yet too much to do."""
    return before + 0.3 * (lag - before)
