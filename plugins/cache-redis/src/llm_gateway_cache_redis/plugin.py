"""Declares the cache backend ``redis`` and its settings."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from llm_gateway_api import CacheSpec, ConfigurationError, SettingsSpec, hookimpl

if TYPE_CHECKING:
    from llm_gateway_api import Metrics

    from llm_gateway_cache_redis.cache import RedisCache
    from llm_gateway_cache_redis.settings import RedisCacheSettings

PATH = "cache.redis"


@hookimpl
def llm_gateway_settings() -> list[SettingsSpec]:
    from llm_gateway_cache_redis.settings import RedisCacheSettings

    return [SettingsSpec(PATH, RedisCacheSettings)]


@hookimpl
def llm_gateway_cache_backends() -> list[CacheSpec]:
    return [CacheSpec("redis", cache, PATH, needs=("clock", "metrics"))]


def cache(
    settings: "RedisCacheSettings", clock: Callable[[], float], metrics: "Metrics"
) -> "RedisCache":
    from llm_gateway_cache_redis.cache import RedisCache

    if settings.url is None:
        raise ConfigurationError("cache.redis.url: the backend redis needs an address.")
    try:
        return RedisCache(settings, settings.url.get_secret_value(), clock, metrics)
    except ValueError as error:
        raise ConfigurationError(f"cache.redis.url: {error}") from error
