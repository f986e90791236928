"""Why no cache can be looked into, and what brings one, in words for the operator."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from llm_gateway_api import GatewayError, InstalledPlugin

if TYPE_CHECKING:
    from llm_gateway_api import CacheSettings

HOOK = "cache_backends"


def no_cache(
    settings: "CacheSettings | None",
    plugins: Sequence[InstalledPlugin],
    caches: Collection[str] = (),
) -> GatewayError:
    """`settings` are those of `cache`, `caches` the names of those in service."""
    if caches:
        names = ", ".join(sorted(caches))
        said = f"The cache in service ({names}) cannot be looked into: its plugin lacks that."
    else:
        said = f"No cache is in service: {_remedy(settings, plugins)}."
    return GatewayError(said, status=404, code="no_cache")


def _remedy(settings: "CacheSettings | None", plugins: Sequence[InstalledPlugin]) -> str:
    if settings is not None:
        return "`cache.enabled` is false in the configuration; set it to true"
    if any(each.state == "active" and HOOK in each.adds for each in plugins):
        return (
            "a plugin that brings one is installed, and the configuration has no `cache` section; "
            "add one (`cache: {backend: memory}`)"
        )
    return (
        "no active plugin brings one; pip install llm-gateway-cache-memory (or "
        "llm-gateway-cache-redis), see that `plugins.disabled` does not name it, and add a "
        "`cache` section to the configuration"
    )
