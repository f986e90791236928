"""Declares the backend ``redis``."""

from typing import TYPE_CHECKING

from llm_gateway_api import ConfigurationError, StateBackendSpec, hookimpl

if TYPE_CHECKING:
    from llm_gateway_api import StateBackend, StateSettings


@hookimpl
def llm_gateway_state_backends() -> list[StateBackendSpec]:
    return [StateBackendSpec("redis", "fleet", make)]


def make(settings: "StateSettings") -> "StateBackend":
    from llm_gateway_state_redis.state import RedisState

    if not settings.redis_url:
        raise ConfigurationError(
            "state.redis_url: the backend redis needs an address; set it or REDIS_URL."
        )
    try:
        return RedisState(settings.redis_url)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"state.redis_url: {error}") from error
