"""What the kernel itself tells auditors: refusals, administration, reloads."""

from time import time
from typing import Literal, TypeAlias

from llm_gateway_api import Arrival, AuditEvent, GatewayError, PermissionDeniedError, RefusedError

Outcome: TypeAlias = Literal["ok", "refused", "failed"]
_MONEY_AND_RATES = (402, 429)


def refusal(arrival: Arrival, error: GatewayError) -> AuditEvent | None:
    """The event of a request that was refused for security, or None for other errors."""
    if error.status == 401:
        kind = "auth.refused"
    elif isinstance(error, PermissionDeniedError) or (
        isinstance(error, RefusedError) and error.status not in _MONEY_AND_RATES
    ):
        kind = "request.refused"
    else:
        return None
    return _event(arrival, kind, "refused", {"code": error.code})


def administration(arrival: Arrival, status: int) -> AuditEvent:
    """A call that may have changed something; `detail` has method and status."""
    detail = {"method": arrival.method, "status": str(status)}
    return _event(arrival, "admin.called", "ok" if status < 400 else "failed", detail)


def reload(generation: int, error: str = "") -> AuditEvent:
    """A change of configuration, or one that was refused."""
    outcome: Outcome = "failed" if error else "ok"
    return AuditEvent(_now(), "config.reloaded", outcome, detail={"generation": str(generation)})


def _event(arrival: Arrival, kind: str, outcome: Outcome, detail: dict[str, str]) -> AuditEvent:
    principal = arrival.principal
    return AuditEvent(
        _now(),
        kind,
        outcome,
        principal.key_id,
        principal.tenant,
        arrival.path,
        arrival.request_id,
        arrival.peer,
        detail,
    )


def _now() -> int:
    return int(time() * 1000)
