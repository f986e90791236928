"""A server's list of models: ``{"data": [...]}``, or an array alone (Together)."""

from typing import Any

import llm_gateway_api as gw
import msgspec

WINDOWS = ("context_length", "context_window", "max_model_len", "max_context_length")


def page(body: bytes) -> gw.ModelPage:
    """All of it: the dialect has no pages."""
    try:
        found: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        found = None
    rows = found.get("data") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise gw.UpstreamTruncatedError("the list of models could not be understood")
    named = (each for each in rows if isinstance(each, dict) and isinstance(each.get("id"), str))
    return gw.ModelPage(tuple(_info(each) for each in named))


def _info(row: dict[str, Any]) -> gw.ModelInfo:
    """Of servers that say more than a name, the window too."""
    windows = (row[name] for name in WINDOWS if type(row.get(name)) is int)
    created = row.get("created")
    return gw.ModelInfo(
        row["id"], next(windows, None), created=created if type(created) is int else 0
    )
