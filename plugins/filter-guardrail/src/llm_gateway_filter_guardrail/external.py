"""A service of the operator's own that judges requests."""

import logging
from collections.abc import Sequence

import msgspec
from llm_gateway_api import Arrival, Fetch, FetchError

from llm_gateway_filter_guardrail.settings import External

log = logging.getLogger("llm_gateway_filter_guardrail")
MAX_VERDICT_BYTES = 64 * 1024


class Verdict(msgspec.Struct):
    """What the service answers; other members are for others."""

    allow: bool


class Question(msgspec.Struct):
    """What it is asked."""

    rule: str
    request_id: str
    tenant: str | None
    route: str
    texts: Sequence[str]


async def allowed(
    service: External, fetch: Fetch, arrival: Arrival, texts: Sequence[str]
) -> bool | None:
    """What the service says; None where it says nothing that can be understood in time."""
    question = Question(
        service.name, arrival.request_id, arrival.principal.tenant, arrival.path, texts
    )
    headers = {"content-type": "application/json"}
    if service.key is not None:
        headers["authorization"] = f"Bearer {service.key.get_secret_value()}"
    try:
        answer = await fetch(
            service.url,
            method="POST",
            headers=headers,
            body=msgspec.json.encode(question),
            seconds=service.timeout_seconds,
            max_bytes=MAX_VERDICT_BYTES,
        )
        if answer.status != 200:
            log.warning("guardrail.failed name=%s status=%d", service.name, answer.status)
            return None
        return msgspec.json.decode(answer.body, type=Verdict).allow
    except FetchError as error:
        log.warning("guardrail.failed name=%s %s", service.name, error)
    except msgspec.DecodeError:
        log.warning("guardrail.failed name=%s its answer has no allow", service.name)
    return None
