"""When another try is worth it, and after which wait. Pure: no clock, no sleep."""

import random
from dataclasses import dataclass

from llm_gateway_sdk.errors import ConnectionFailedError, GatewayError

RETRYABLE = frozenset({429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential waits with jitter; the gateway's ``retry-after`` wins where it is longer.

    A request that timed out is not sent again: it may have been worked on, and paid for.
    """

    max_attempts: int = 3
    initial_delay_seconds: float = 0.5
    max_delay_seconds: float = 8.0
    multiplier: float = 2.0
    jitter: float = 0.25
    longest_retry_after_seconds: float = 60.0

    def wait(self, attempt: int, error: GatewayError, should_retry: str | None) -> float | None:
        """Seconds before the attempt after number `attempt` (from 1), or None to give up."""
        if attempt >= self.max_attempts or should_retry == "false":
            return None
        connecting = isinstance(error, ConnectionFailedError)
        if not connecting and should_retry != "true" and error.status not in RETRYABLE:
            return None
        delay = min(
            self.initial_delay_seconds * self.multiplier ** (attempt - 1), self.max_delay_seconds
        )
        delay *= 1 - self.jitter * random.random()
        if error.retry_after is None:
            return delay
        if error.retry_after > self.longest_retry_after_seconds:
            return None
        return max(delay, error.retry_after)


NO_RETRY = RetryPolicy(max_attempts=1)
