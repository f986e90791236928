"""Plugins' routes: found, guarded by role and scope, asked by other plugins in the process."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode

from llm_gateway_api import (
    NOTHING,
    Arrival,
    EndpointRequest,
    EndpointResponse,
    EndpointSpec,
    GatewayError,
    InstalledPlugin,
    MethodNotAllowedError,
    NotFoundError,
    PermissionDeniedError,
)
from msgspec import structs

from llm_gateway import auditing

if TYPE_CHECKING:
    from llm_gateway.binding import Generation
    from llm_gateway.plugins import Plugins

LISTING = "/openapi.json"
ROLES = {"user": 0, "operator": 1, "admin": 2}
Found = tuple[EndpointSpec, Any, Mapping[str, str]]


def found(generation: "Generation", method: str, path: str, listener: str) -> Found:
    """The route, its handler, and the placeholders of its path."""
    allowed = {m for m, p in generation.frontends if p == path and listener == "main"}
    for spec, handler in generation.endpoints:
        if spec.listener != listener:
            continue
        match = matched(spec.path, path)
        if match is None:
            continue
        if method in (spec.method, "HEAD" if spec.method == "GET" else ""):
            return spec, handler, match
        allowed.add(spec.method)
    if allowed:
        raise MethodNotAllowedError(f"{path} takes {', '.join(sorted(allowed))}.")
    raise NotFoundError(f"There is no such route; {_hint(generation, path, listener)}")


def _hint(generation: "Generation", path: str, listener: str) -> str:
    """What a client may have meant whose base URL has the version's part twice, or lacks it."""
    known = {spec.path for spec, _ in generation.endpoints if spec.listener == listener}
    known.update(each for _, each in generation.frontends if listener == "main")
    for meant in (f"/v1{path}", path.removeprefix("/v1")):
        if meant != path and meant in known:
            return f"did you mean {meant}? Look at the client's base URL."
    return f"GET {LISTING} lists them." if LISTING in known else "the documentation lists them."


def matched(pattern: str, path: str) -> Mapping[str, str] | None:
    """The placeholders of `pattern` in `path`, or None. ``{x:path}`` takes the rest."""
    if "{" not in pattern:
        return {} if pattern == path else None
    placed: dict[str, str] = {}
    parts = path.split("/")
    for at, want in enumerate(pattern.split("/")):
        if want.endswith(":path}"):
            rest = unquote("/".join(parts[at:]))
            return {**placed, want[1:-6]: rest} if rest else None
        if at >= len(parts):
            return None
        if want.startswith("{"):
            placed[want[1:-1]] = unquote(parts[at])
        elif want != parts[at]:
            return None
    return placed if len(parts) == len(pattern.split("/")) else None


async def identified(generation: "Generation", arrival: Arrival, spec: EndpointSpec) -> Arrival:
    """`arrival` with its caller; of a route that demands no role, anybody."""
    try:
        return await generation.pipeline.screens.identify(arrival)
    except GatewayError:
        if spec.role is None:
            return arrival
        raise


def permitted(arrival: Arrival, spec: EndpointSpec) -> None:
    """Raises `PermissionDeniedError` where the caller may not use the route."""
    if spec.role is None:
        return
    if ROLES[arrival.principal.role] < ROLES[spec.role]:
        raise PermissionDeniedError(f"This route needs a key with the role {spec.role}.")
    if spec.scope == "gateway" and arrival.principal.tenant is not None:
        raise PermissionDeniedError(
            "This route is about the whole gateway: it needs a key that belongs to no tenant."
        )


class Present:
    """What serves now, for plugins to look into. Meets `Inside`."""

    def __init__(
        self, generation: "Callable[[], Generation]", plugins: "Callable[[], Plugins]"
    ) -> None:
        self._present = generation
        self._plugins = plugins

    def installed(self) -> list[InstalledPlugin]:
        """Meets `Installed`."""
        armed = self._present().maker.armed()
        return [
            InstalledPlugin(
                each.name,
                each.distribution,
                each.version,
                each.state,
                each.phase,
                each.reason,
                each.adds,
                armed.get(each.name, {}),
            )
            for each in self._plugins().plugins
        ]

    def brought(self, method: str, path: str) -> bool:
        try:
            found(self._present(), method, path, "main")
        except (NotFoundError, MethodNotAllowedError):
            return False
        return True

    async def known(self, arrival: Arrival) -> Arrival:
        generation = self._present()
        try:
            return await generation.pipeline.screens.identify(arrival)
        except GatewayError as error:
            _tell(generation, arrival, error)
            raise

    async def __call__(
        self,
        arrival: Arrival,
        method: str,
        path: str,
        query: Mapping[str, str] = NOTHING,
        body: bytes = b"",
    ) -> EndpointResponse:
        generation = self._present()
        arrival = structs.replace(arrival, method=method, path=path, query=urlencode(query))
        spec, handler, match = found(generation, method, path, "main")
        try:
            if spec.role is not None:
                arrival = await identified(generation, arrival, spec)
                permitted(arrival, spec)
                await generation.pipeline.screens.admit_endpoint(arrival, body)
            answer: EndpointResponse = await handler(EndpointRequest(arrival, match, query, body))
        except GatewayError as error:
            _tell(generation, arrival, error)
            raise
        if spec.role is not None and method not in ("GET", "HEAD"):
            generation.audit(auditing.administration(arrival, answer.status))
        return answer


def _tell(generation: "Generation", arrival: Arrival, error: GatewayError) -> None:
    event = auditing.refusal(arrival, error)
    if event is not None:
        generation.audit(event)
