"""Declares the filters of shape and size: one before the body is read, one after."""

from collections.abc import Mapping
from typing import Any

import llm_gateway_api as gw
import msgspec
from msgspec import structs

from llm_gateway_filter_validation.characters import Characters, Kind
from llm_gateway_filter_validation.settings import Policy, ValidationSettings
from llm_gateway_filter_validation.shapes import ShapeError, check

PATH = "security.validation"


class SizeFilter:
    """CONNECTION: refuses a body by the size that it claims, before it is sent."""

    def __init__(self, limit: int) -> None:
        self._limit = limit

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        assert isinstance(seen, gw.Arrival)
        claimed = seen.headers.get("content-length")
        # What is no number was refused by the server before.
        if claimed is not None and claimed.isdecimal() and int(claimed) > self._limit:
            return too_large(self._limit)
        return seen


class ValidationFilter:
    """ADMISSION: shapes, numbers, lengths, characters. Reads bytes; decodes what is doubtful."""

    def __init__(self, settings: ValidationSettings) -> None:
        counts = settings.counts
        self._size = settings.max_request_size_bytes if counts else None
        self._messages = settings.max_messages if counts else None
        self._length = settings.max_message_length if counts else None
        policies: dict[Kind, Policy] = {
            "control": settings.control_characters,
            "invisible": settings.invisible_characters,
        }
        self._refused = _characters(policies, "refuse")
        self._cleaned = _characters(policies, "clean")

    async def inspect(self, seen: gw.Seen) -> gw.Seen | gw.Refusal:
        assert isinstance(seen, gw.Admission)
        head = seen.head
        if (over := self._over(head.body)) is not None:
            return over
        try:
            check(head, self._messages, self._length)
            for each in (self._refused, self._cleaned):
                if each is not None and each.maybe_in(head.body):
                    head = self._without(head, each)
        except ShapeError as error:
            return gw.Refusal(400, error.code, str(error), error.param)
        except msgspec.DecodeError as error:
            return gw.Refusal(400, "invalid_body", f"The body cannot be read: {error}.")
        return seen if head is seen.head else gw.Admission(seen.arrival, head)

    async def inspect_endpoint(self, arrival: gw.Arrival, body: bytes) -> gw.Refusal | None:
        return self._over(body)

    def _over(self, body: bytes) -> gw.Refusal | None:
        if self._size is not None and len(body) > self._size:
            return too_large(self._size)
        return None

    def _without(self, head: gw.RequestHead, characters: Characters) -> gw.RequestHead:
        """`head` without `characters`. Raises `ShapeError` where they are refused, or stand in
        the name of a member: without them it might be another member's."""
        body = _clean(characters, head.body)
        if body == head.body:
            return head
        found = list(characters.found(msgspec.json.decode(head.body)))
        if not found:  # behind a member of the same name
            raise ShapeError("body", "has a member twice, with invisible characters in one.", CODE)
        for path, named in found:
            if named:
                raise ShapeError(path, "has a member with invisible characters in its name.", CODE)
            if characters is self._refused or path == "model":
                raise ShapeError(path, "holds control or invisible characters.", CODE)
        fields = {n: msgspec.Raw(_clean(characters, raw)) for n, raw in head.fields.items()}
        return structs.replace(head, fields=fields, body=body)


_: type[gw.SecurityFilter] = SizeFilter
__: type[gw.SecurityFilter] = ValidationFilter
___: type[gw.SupportsEndpoints] = ValidationFilter
CODE = "invisible_characters"


def _clean(characters: Characters, json: Any) -> bytes:
    return characters.cleaned(bytes(json).decode()).encode()


def _characters(policies: Mapping[Kind, Policy], policy: Policy) -> Characters | None:
    kinds = frozenset(kind for kind, chosen in policies.items() if chosen == policy)
    return Characters(kinds) if kinds else None


def too_large(limit: int) -> gw.Refusal:
    return gw.Refusal(
        413,
        "request_too_large",
        f"The body is larger than {limit} bytes ({PATH}.max_request_size_bytes).",
    )


def size(settings: ValidationSettings) -> SizeFilter | None:
    limit = settings.max_request_size_bytes
    return SizeFilter(limit) if settings.counts and limit is not None else None


@gw.hookimpl
def llm_gateway_settings() -> list[gw.SettingsSpec]:
    return [gw.SettingsSpec(PATH, ValidationSettings, switch="counts")]


@gw.hookimpl
def llm_gateway_security_filters() -> list[gw.SecurityFilterSpec]:
    return [
        gw.SecurityFilterSpec(
            "size", "connection", size, settings=PATH, after=("client_address", "ip", "headers")
        ),
        gw.SecurityFilterSpec("validation", "admission", ValidationFilter, settings=PATH),
    ]
