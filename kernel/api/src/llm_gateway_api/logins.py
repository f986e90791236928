"""Failed logins by client address, so that guessing keys is slow and costs nobody anything."""

import ipaddress
from collections.abc import Callable
from time import monotonic

from llm_gateway_api.values import Refusal

MINUTE = 60.0
MAX_ADDRESSES = 10_000


class FailedLogins:
    """One for each process; a plugin gets it with ``needs=("failed_logins",)``.

    Whoever refuses an unknown key counts it; whoever would look for a key farther away than in
    memory asks first. Of addresses it keeps the last `MAX_ADDRESSES` that failed, networks of
    64 bits in IPv6, where one host has as many addresses as it likes.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        # By address: when all its failures are forgiven, and what one more adds to that.
        self._known: dict[str, tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def count(self, address: str, per_minute: int) -> None:
        """A key from `address` was unknown; it may send `per_minute` of them."""
        now, step = self._clock(), MINUTE / per_minute
        name = network(address)
        until, _ = self._known.pop(name, (now, step))
        self._known[name] = (max(until, now) + step, step)
        if len(self._known) > MAX_ADDRESSES:
            del self._known[next(iter(self._known))]

    def refusal(self, address: str) -> Refusal | None:
        """What to answer instead of judging a key from `address`; None while it may try."""
        if not self._known:
            return None
        known = self._known.get(network(address))
        if known is None:
            return None
        until, step = known
        wait = until + step - self._clock() - MINUTE
        if wait <= step / 1000:  # the clock's own rounding
            return None
        return Refusal(
            429,
            "too_many_failed_logins",
            "Too many unknown API keys came from your address; check the key, and try again in"
            f" {max(1, round(wait))} s.",
            retry_after=wait,
        )


def network(address: str) -> str:
    """The address, or the network of 64 bits that it is in."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((found, 64), strict=False))
