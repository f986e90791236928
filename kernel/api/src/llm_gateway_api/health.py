"""Health of deployments: what probes find, and who judges.

The monitor of a generation is offered as ``monitor``, the way to probe as ``probe``; where no
plugin brings a monitor, the offer is None and all count as well.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from llm_gateway_api.values import Target

# `suspended`: the provider refuses us (credential, account) or has the model no more; it is
# asked only where nobody else can be, and again after a while.
HealthState: TypeAlias = Literal[
    "ok", "degraded", "recovering", "unhealthy", "suspended", "unknown"
]


class Probed(msgspec.Struct, frozen=True):
    """What a probe found: the class of the failure, or None; `seconds` it took."""

    failure: str | None
    seconds: float
    status: int = 0
    detail: str = ""


class Probe(Protocol):
    """Offered as ``probe``: asks providers whether they are well, without using tokens.

    `seconds` is ``routing.health_check_interval_seconds``, 0 for never; `providers` are those
    that can be asked.
    """

    seconds: float
    providers: Sequence[str]

    async def __call__(self, provider: str) -> Probed:
        """Never raises for what the provider does; takes at most its own deadline."""


class DeploymentHealth(msgspec.Struct, frozen=True):
    """Where one deployment stands. `share` is the part of its traffic that it gets now,
    `since` Unix seconds of the last change, `latency_ms` of its last answers."""

    provider: str
    model: str
    state: HealthState
    share: float = 1.0
    region: str | None = None
    since: float | None = None
    failures: int = 0
    last_failure: str | None = None
    latency_ms: float | None = None


class HealthMonitor(Protocol):
    """Judges deployments from traffic and probes. Plain calls on what is known; neither may
    raise: the page or explanation that asks would answer 500."""

    def health(self, target: Target) -> DeploymentHealth: ...

    def providers(self) -> Mapping[str, HealthState]:
        """The state of each provider of which anything is known."""


@runtime_checkable
class SupportsReasons(Protocol):
    """A monitor that says why a provider is not well."""

    def reasons(self) -> Mapping[str, str]:
        """The last failure's class by provider, of those that are neither ok nor unknown."""
