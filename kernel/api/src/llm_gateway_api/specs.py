"""What hooks return: frozen declarations that the kernel checks and binds.

`make` is called with the validated settings of the declared path, then one keyword for
each name in `needs`; it opens nothing (an object that has to be opened is a `Service`
too). What the kernel offers by name: ``clock`` (the event loop's time as a callable),
``metrics`` (`Metrics`), ``catalog`` (`Catalog`), ``fetch`` (`Fetch`), ``embed`` (`Embed`),
``data_dir`` (`Path`), ``health`` (a callable that returns the detailed health document),
``providers`` (the settings of each provider in service, by name), ``targets`` (`Targets`),
``store`` (`Store`), ``state`` (`StateBackend`), ``local_state`` (the one of this process alone,
for when ``state`` cannot be reached), ``workers`` (their number on this host), ``ledger``
(`Ledger`), ``prices`` (`Prices`), ``audit`` (`Audit`), ``redact`` (`Redact`), ``probe`` (`Probe`),
``listing`` (`Listing`), ``monitor`` (`HealthMonitor`), ``failed_logins`` (`FailedLogins`),
``turn`` (`Turn`), ``migrations`` (all `MigrationSpec`) and ``routes`` (all `FrontendSpec` and
`EndpointSpec`). To services and endpoints: ``caches`` (the `Cache` objects in service, by name),
``explain`` (`Explain`) and ``tenant_data`` (`TenantKinds`).
What no installed plugin brings is None. For pages about the gateway itself: ``inside`` (`Inside`)
and ``plugins`` (`Installed`).

What `make` returned is kept over a reload while its settings and needs are the same
objects or equal, with what it has learned; so ask an offer each time instead of copying.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from llm_gateway_api.requests import Operation

# What a plugin's factory takes depends on its spec, so its parameters cannot be typed here.
Make: TypeAlias = Callable[..., Any]
Stage: TypeAlias = Literal["connection", "identity", "admission", "content"]
ALL_SURFACES = frozenset({"*"})


@dataclass(frozen=True, slots=True)
class SettingsSpec:
    """`model` (a `Section`) validates the settings at the dotted `path`.

    Where the configuration says nothing of the path, the model's defaults hold; a section
    that `waits` is then None, and what is made of it stays off. A section stands in the
    configuration as soon as its name is written, even with nothing below it. `switch` names a
    key that is true from then on, unless the section itself says otherwise; its default in
    the model is what holds while nothing is written.
    """

    path: str
    model: type
    waits: bool = False
    switch: str | None = None


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command of ``llm-gateway``: `load` is ``module:attribute`` of a click command.

    A `name` of two words adds to a group, the kernel's or another plugin's: ``plugins new``.
    """

    name: str
    load: str
    help: str


@dataclass(frozen=True, slots=True)
class MigrationSpec:
    """A series of SQL migrations: `package` holds one folder for each database."""

    series: str
    package: str


@dataclass(frozen=True, slots=True)
class FrontendSpec:
    """A client dialect on one route; its `Frontend` is made without settings.

    `request_id_header` is where its clients look for the request's id, beside
    ``x-request-id``; `statuses` are those of errors where the dialect's own differ. `doc` is
    the route's OpenAPI operation as far as it is more than what the kernel knows.
    """

    dialect: str
    method: str
    path: str
    operation: Operation
    make: Make
    request_id_header: str | None = None
    statuses: Mapping[int, int] = field(default_factory=dict)
    doc: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A kind of provider. `settings` extends `ProviderSettings`; `make(name, settings)`.

    `env` is the variable that switches an instance of this kind on where the configuration
    has no ``providers``, `environment` the settings read from variables in that case, and where
    an entry of the kind's own name leaves them out.
    `standalone` marks a kind that serves when nothing at all is configured.
    `surfaces` is what it can do, for the capability matrix. `telemetry_name` is what traces
    call the vendor (``gen_ai.provider.name``); the kind if absent. `status` is what its maker
    vouches for.
    """

    kind: str
    settings: type
    make: Make
    env: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    standalone: bool = False
    surfaces: frozenset[str] = frozenset({"chat"})
    needs: tuple[str, ...] = ()
    telemetry_name: str | None = None
    status: Literal["production", "beta"] = "beta"


@dataclass(frozen=True, slots=True)
class RoutingFilterSpec:
    name: str
    make: Make
    settings: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthMonitorSpec:
    """A `HealthMonitor`; where several are installed, the first by name judges."""

    name: str
    make: Make
    settings: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoutingScorerSpec:
    """A `RoutingScorer`; `make` may return None where its settings leave it off."""

    name: str
    make: Make
    settings: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RoutingStrategySpec:
    """`name` is what ``routing.strategy`` says."""

    name: str
    make: Make
    settings: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GuardSpec:
    """Guards are asked in the order of `before` and `after` (names), then by name."""

    name: str
    make: Make
    settings: str | None = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AttemptPolicySpec:
    """Policies are asked in the order of `before` and `after` (names), then by name."""

    name: str
    make: Make
    settings: str | None = None
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LimiterSpec:
    """`fail` is what an exception means: ``open`` lets pass, ``closed`` answers 503. One that
    is `always` there is made although its section is off (or absent: then the settings it is
    given are None): it has limits from elsewhere, too."""

    name: str
    make: Make
    settings: str | None = None
    fail: Literal["open", "closed"] = "open"
    needs: tuple[str, ...] = ()
    always: bool = False


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """`name` is what ``cache.backend`` says; a `semantic` cache is asked after exact ones."""

    name: str
    make: Make
    settings: str | None = None
    semantic: bool = False
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SecurityFilterSpec:
    """A filter in `stage`, in the order of `before` and `after` (names; ``*`` in `after` is
    all that do not say so themselves), then by name.

    `surfaces` are the dialects it covers; one that misses an enabled surface stops the
    start. `make` may return None where its settings leave it off. One that `authenticates`
    refuses whom it does not know; without any, the gateway binds to loopback only.
    """

    name: str
    stage: Stage
    make: Make
    settings: str | None = None
    surfaces: frozenset[str] = ALL_SURFACES
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    authenticates: bool = False


@dataclass(frozen=True, slots=True)
class ObserverSpec:
    name: str
    make: Make
    settings: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TracerSpec:
    """`make` returns a `TracerProvider`; there is one for all that the gateway does."""

    name: str
    make: Make
    settings: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """`scheme` is that of ``database.url`` (``sqlite``, ``postgresql``); an `embedded` store
    serves where there is no URL."""

    scheme: str
    make: Make
    settings: str | None = "database"
    embedded: bool = False
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StateBackendSpec:
    """`name` is what ``state.backend`` says; `reach` is who shares it: ``auto`` takes a
    ``fleet`` one where ``state.redis_url`` is set, a ``host`` one with several workers."""

    name: str
    reach: Literal["process", "host", "fleet"]
    make: Make
    settings: str | None = "state"
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LedgerSpec:
    name: str
    make: Make
    settings: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CatalogSpec:
    """A `ModelCatalog`; where several know a model, the first by name is believed."""

    name: str
    make: Make
    settings: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RedactorSpec:
    """`make` returns a `Redactor`; offered to all as ``redact``."""

    name: str
    make: Make
    settings: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SecretSourceSpec:
    """`make` returns a `SecretSource`, anew for each reading of the configuration, with
    the settings at `settings` ahead of the rest. It may need ``store`` (not open),
    ``data_dir``, ``clock`` and ``metrics``, and no other offer."""

    name: str
    make: Make
    settings: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TenantDataSpec:
    """One kind of data about tenants; `make` returns a `TenantData`, or None where nothing is
    kept. It may need ``caches`` beside what all may need. Without `make` there is nothing to
    do: it goes by itself, in the time that `kept` says.

    The texts stand in the documentation: `what` is kept, `where`, for how long it is `kept`,
    and what is `left` of it by an erasure. Kinds of a lower `order` are erased first: those
    that let new data arise (keys) before those that record the rest (audit).
    """

    name: str
    what: str
    where: str
    kept: str
    left: str = "nothing"
    make: Make | None = None
    settings: str | None = None
    needs: tuple[str, ...] = ()
    order: int = 50


@dataclass(frozen=True, slots=True)
class AuditorSpec:
    name: str
    make: Make
    settings: str | None = None
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """`early` ones open right after the store, before what may use their work."""

    name: str
    make: Make
    settings: str | None = None
    early: bool = False
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """A route. `path` may hold ``{name}`` and, last, ``{name:path}``.

    `role` None needs no key. `listener` ``metrics`` is the port of its own. `make` returns
    an `EndpointHandler`. `doc` is the route's OpenAPI operation (summary, parameters, body).
    One that is `always` there is made although its section is off, or absent: then the settings
    it is given are None.

    At a route that demands a role, a key that belongs to a tenant is refused: it shows or
    changes what is everybody's. At one of scope ``tenant`` the handler sees to it that such a
    key reads and changes its own tenant's alone.
    """

    method: str
    path: str
    role: Literal["user", "operator", "admin"] | None
    make: Make
    listener: Literal["main", "metrics"] = "main"
    settings: str | None = None
    needs: tuple[str, ...] = ()
    always: bool = False
    doc: Mapping[str, Any] = field(default_factory=dict)
    scope: Literal["tenant", "gateway"] = "gateway"
