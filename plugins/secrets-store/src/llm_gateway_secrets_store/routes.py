"""What the routes answer. No answer holds a value."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from llm_gateway_api import (
    Audit,
    AuditEvent,
    EndpointRequest,
    GatewayError,
    MalformedBodyError,
)

from llm_gateway_secrets_store.keeping import SecretKeeper
from llm_gateway_secrets_store.sources import NAME

MAX_VALUE = 64 * 1024


class NewSecret(msgspec.Struct, forbid_unknown_fields=True):
    value: str


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    name: str | None = None


async def listing(keeper: SecretKeeper, request: EndpointRequest, audit: Audit) -> Any:
    return {"rows": await keeper.listed()}


async def setting(keeper: SecretKeeper, request: EndpointRequest, audit: Audit) -> Any:
    name = _name(request.match["name"])
    value = _body(request.body, NewSecret).value
    if not value.strip() or len(value.encode()) > MAX_VALUE:
        raise MalformedBodyError(f"`value` has 1 to {MAX_VALUE} bytes.", param="value")
    version = await keeper.set(name, value, _recorder(audit, request, "secret.set", name))
    return {"name": name, "version": version}


async def deleting(keeper: SecretKeeper, request: EndpointRequest, audit: Audit) -> Any:
    name = _name(request.match["name"])
    await keeper.delete(name, _recorder(audit, request, "secret.deleted", name))
    return {"name": name, "deleted": True}


async def rotating(keeper: SecretKeeper, request: EndpointRequest, audit: Audit) -> Any:
    name = _body(request.body or b"{}", Wanted).name
    _recorder(audit, request, "secret.rotated", name or "*")(0)
    return await keeper.rotate(name)


Route = Callable[[SecretKeeper, EndpointRequest, Audit], Awaitable[Any]]
ROUTES: Mapping[str, Route] = {
    "list": listing,
    "set": setting,
    "delete": deleting,
    "rotate": rotating,
}


def checked(keeper: SecretKeeper | None) -> SecretKeeper:
    if keeper is None:
        raise GatewayError(
            "The secret store needs a store and security.secrets.encryption_key "
            "(or SECRETS_ENCRYPTION_KEY).",
            status=409,
            code="secrets_off",
        )
    return keeper


def _recorder(
    audit: Audit, request: EndpointRequest, kind: str, name: str
) -> Callable[[int], None]:
    def record(number: int) -> None:
        arrival = request.arrival
        audit(
            AuditEvent(
                int(time.time() * 1000),
                kind,
                "ok",
                arrival.principal.key_id,
                None,
                name,
                arrival.request_id,
                arrival.peer,
                {"version": str(number)} if kind == "secret.set" else {},
            )
        )

    return record


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise MalformedBodyError(
            "The name has letters, digits, `_`, `.` and `-`, begins with a letter or digit and "
            "is at most 128 long.",
            param="name",
        )
    return text


def _body(body: bytes, model: type[Any]) -> Any:
    """What does not fit is not quoted: it may be the secret."""
    try:
        return msgspec.json.decode(body, type=model)
    except msgspec.MsgspecError as error:
        fields = ", ".join(f"`{each}`" for each in model.__struct_fields__)
        raise MalformedBodyError(f"The body is a JSON object with the text {fields}.") from error
