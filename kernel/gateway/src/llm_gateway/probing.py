"""Asking providers whether they are well, with requests that use no tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from llm_gateway_api import FailureClass, GatewayError, Probed, SupportsProbe, UpstreamError

from llm_gateway.attempt import Bound
from llm_gateway.calling import opened

PROBE_SECONDS = 10.0
# Of these alone a probe can tell; any other answer shows that somebody is there.
TELLING = frozenset(
    {
        FailureClass.OVERLOADED,
        FailureClass.SERVER_ERROR,
        FailureClass.CREDENTIAL_REFUSED,
        FailureClass.ACCOUNT_EMPTY,
    }
)


@dataclass(frozen=True, slots=True)
class Prober:
    """Meets `Probe` for the providers of one generation."""

    bounds: Mapping[str, Bound]
    seconds: float
    providers: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        able = [n for n, each in self.bounds.items() if isinstance(each.provider, SupportsProbe)]
        object.__setattr__(self, "providers", tuple(able))

    async def __call__(self, provider: str) -> Probed:
        bound = self.bounds[provider]
        assert isinstance(bound.provider, SupportsProbe)
        began = monotonic()
        try:
            status = await self._ask(bound, bound.provider, began)
        except UpstreamError as error:
            return Probed(error.failure, monotonic() - began, error.status, error.message)
        except GatewayError as error:
            failure = FailureClass.CREDENTIAL_REFUSED
            return Probed(failure, monotonic() - began, error.status, error.message)
        return Probed(None, monotonic() - began, status)

    async def _ask(self, bound: Bound, asked: SupportsProbe, began: float) -> int:
        limit = began + min(PROBE_SECONDS, bound.default_seconds)
        answer = await opened(bound, asked.probe(), limit)
        try:
            status, error = answer.connection.status, answer.error
            if error is not None and status >= 400 and error.failure in TELLING:
                raise error
            return status
        finally:
            answer.connection.release()
