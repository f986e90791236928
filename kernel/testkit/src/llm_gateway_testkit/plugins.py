"""Finds a plugin and makes its providers, without a gateway."""

import asyncio
import importlib
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import llm_gateway_api as gw

GROUP = "llm_gateway.plugins"


def load(name: str) -> ModuleType:
    """The plugin of that entry point, or the module of that name.

    Raises:
        LookupError: neither exists; the text lists the entry points.
    """
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name in found:
        module = found[name].load()
        assert isinstance(module, ModuleType), f"{name} is no module"
        return module
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        known = ", ".join(sorted(found)) or "none"
        raise LookupError(f"no plugin {name!r}; installed are: {known}") from error


def kinds(plugin: ModuleType) -> dict[str, gw.ProviderSpec]:
    """The kinds of provider that `plugin` declares."""
    hook = getattr(plugin, "llm_gateway_providers", None)
    return {} if hook is None else {spec.kind: spec for spec in hook()}


def installed_kinds() -> frozenset[str]:
    """The kinds of all installed plugins that can be imported."""
    found: set[str] = set()
    for point in entry_points(group=GROUP):
        with suppress(Exception):  # whose plugin is broken is another matter
            found |= kinds(point.load()).keys()
    return frozenset(found)


async def nothing_to_fetch(url: str, **_: object) -> gw.Fetched:
    """Stands in for ``fetch`` where a case reaches for no address."""
    raise gw.FetchError("nothing is fetched here")


def dialects(plugin: ModuleType) -> dict[str, gw.FrontendSpec]:
    """The client dialects that `plugin` declares."""
    hook = getattr(plugin, "llm_gateway_frontends", None)
    return {} if hook is None else {spec.dialect: spec for spec in hook()}


def make(spec: gw.ProviderSpec, settings: Mapping[str, Any], name: str = "upstream") -> Any:
    """An instance as the kernel would make it, with stand-ins for what it `needs`."""
    offered = {
        "clock": lambda: asyncio.get_running_loop().time(),
        "metrics": gw.Metrics(),
        "data_dir": Path(tempfile.gettempdir()),
        "health": dict,
        "fetch": nothing_to_fetch,
    }
    needs = {each: offered[each] for each in spec.needs}
    return spec.make(name, spec.settings(**settings), **needs)
