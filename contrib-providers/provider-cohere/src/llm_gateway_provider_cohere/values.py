"""Reading the vendor's JSON: what has another type than agreed counts as absent."""

from typing import Any

import llm_gateway_api as gw
import msgspec


def decoded(data: bytes) -> dict[str, Any]:
    """The object that `data` is.

    Raises:
        UpstreamTruncatedError: it is none.
    """
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise gw.UpstreamTruncatedError("the answer holds invalid JSON") from error
    if not isinstance(found, dict):
        raise gw.UpstreamTruncatedError("the answer is no object")
    return found


def member(holder: object, *path: str) -> dict[str, Any]:
    """The object at `path`, empty where there is none."""
    for name in path:
        holder = holder.get(name) if isinstance(holder, dict) else None
    return holder if isinstance(holder, dict) else {}


def words(holder: dict[str, Any], name: str) -> str:
    found = holder.get(name)
    return found if isinstance(found, str) else ""


def rows(value: object) -> list[dict[str, Any]]:
    """The objects of a list; a single object counts as a list of one."""
    if isinstance(value, dict):
        return [value]
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def number(value: object) -> int | None:
    """The vendor's counts are floats."""
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


_COUNTED = ("input_tokens", "output_tokens")
_CHARGED = (*_COUNTED, "search_units")


def meters(usage: dict[str, Any]) -> gw.Usage | None:
    """`tokens` count everything, `billed_units` what is charged; either may be missing.

    Tokens of reasoning are in the output and not told apart.
    """
    counted, billed = member(usage, "tokens"), member(usage, "billed_units")
    charged_in, charged_out, units = map(number, map(billed.get, _CHARGED))
    asked, made = map(number, map(counted.get, _COUNTED))
    if asked is made is charged_in is charged_out is units is None:
        return None
    total = asked if asked is not None else charged_in or 0
    cached = min(number(usage.get("cached_tokens")) or 0, total)
    return gw.Usage(
        input=total - cached,
        cache_read=cached,
        output=made if made is not None else charged_out or 0,
        billed_input=charged_in,
        billed_output=charged_out,
        search_units=units or 0,
    )
