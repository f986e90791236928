"""Declares the cache backend ``memory``."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from llm_gateway_api import CacheSpec, hookimpl

if TYPE_CHECKING:
    from llm_gateway_api import CacheSettings, Metrics

    from llm_gateway_cache_memory.cache import MemoryCache


@hookimpl
def llm_gateway_cache_backends() -> "list[CacheSpec]":
    return [CacheSpec("memory", cache, "cache", needs=("clock", "metrics"))]


def cache(
    settings: "CacheSettings", clock: Callable[[], float], metrics: "Metrics"
) -> "MemoryCache":
    from llm_gateway_cache_memory.cache import MemoryCache

    return MemoryCache(settings.max_size_mb * 1024 * 1024, clock, metrics)
