"""Declares the semantic cache and its settings."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from llm_gateway_api import CacheSpec, SettingsSpec, hookimpl

from llm_gateway_cache_semantic.settings import SemanticSettings

if TYPE_CHECKING:
    from llm_gateway_api import Embed, Metrics

    from llm_gateway_cache_semantic.cache import SemanticCache

PATH = "cache.semantic_cache"


@hookimpl
def llm_gateway_settings() -> list[SettingsSpec]:
    return [SettingsSpec(PATH, SemanticSettings, waits=True)]


@hookimpl
def llm_gateway_cache_backends() -> list[CacheSpec]:
    needs = ("embed", "clock", "metrics")
    return [CacheSpec("semantic", make, PATH, semantic=True, needs=needs)]


def make(
    settings: SemanticSettings, embed: "Embed", clock: Callable[[], float], metrics: "Metrics"
) -> "SemanticCache":
    from llm_gateway_cache_semantic.cache import SemanticCache

    return SemanticCache(settings, embed, clock, metrics)
