"""The hooks of a plugin: each declares, is called once per process start, and does no I/O.

A plugin is a module named by an entry point of the group ``llm_gateway.plugins``. It
implements any of these with `hookimpl`, as plain functions: not ``async def``, no
wrappers. Commands are the exception of place: the module that declares them is also
named in the group ``llm_gateway.commands``, so that ``llm-gateway --help`` imports
nothing else.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from llm_gateway_api import specs

PROJECT = "llm_gateway"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def llm_gateway_settings() -> "Iterable[specs.SettingsSpec]":
    """Declare sections of the configuration.

    Called at start and by ``config schema``, before the file is read. A path that two
    plugins declare stops the start.

    Returns:
        One spec for each dotted path; the model extends `Section`.

    Raises:
        Any exception sets the plugin aside (phase settings).
    """


@hookspec
def llm_gateway_commands() -> "Iterable[specs.CommandSpec]":
    """Declare commands of ``llm-gateway``.

    Called by the command line only, which imports a command when it is run.

    Returns:
        One spec for each command; a name that two plugins declare belongs to neither.

    Raises:
        Any exception leaves the plugin's commands out, with a warning.
    """


@hookspec
def llm_gateway_migrations() -> "Iterable[specs.MigrationSpec]":
    """Declare series of SQL migrations for the tables that the plugin owns.

    Called by ``migrate`` and at start.

    Returns:
        One spec for each series; names are unique among plugins.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_frontends() -> "Iterable[specs.FrontendSpec]":
    """Declare client dialects.

    Called once at start, after the settings were read.

    Returns:
        One spec for each route. A dialect or route that two plugins declare stops the
        start.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_providers() -> "Iterable[specs.ProviderSpec]":
    """Declare the kinds of upstream provider that this plugin brings.

    Called once at start, before the configuration is read: the `settings` model of each
    kind is what the ``providers`` section is validated against. A kind that two plugins
    declare stops the start.

    Returns:
        One spec for each kind. `kind` matches ``[a-z][a-z0-9_]*``; `make` is called once
        per configured instance with its name and settings, and must open nothing. What it
        returns is shared by all requests and keeps no state of a request.

    Raises:
        ConfigurationError: (from `make`) the settings are valid one by one but cannot work
            together. Any other exception is reported as a bug of the plugin.
    """


@hookspec
def llm_gateway_routing_filters() -> "Iterable[specs.RoutingFilterSpec]":
    """Declare filters on the candidates of a request: rules, residency, capability.

    Called once at start, after the settings were read.

    Returns:
        One spec for each filter; all are asked, in the order of their names.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_health_monitors() -> "Iterable[specs.HealthMonitorSpec]":
    """Declare what judges deployments; scorers and routes get it as ``monitor``.

    Called once at start, after the settings were read.

    Returns:
        One spec for each monitor; the first by name is the one that is asked.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_routing_scorers() -> "Iterable[specs.RoutingScorerSpec]":
    """Declare scorers: they prefer candidates before the strategy orders them.

    Called once at start, after the settings were read.

    Returns:
        One spec for each scorer; what they say is added up.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_routing_strategies() -> "Iterable[specs.RoutingStrategySpec]":
    """Declare routing strategies; ``routing.strategy`` chooses one by name.

    Called once at start, after the settings were read.

    Returns:
        One spec for each strategy.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_guards() -> "Iterable[specs.GuardSpec]":
    """Declare guards that admit attempts to a target: breaker, bulkhead, provider limits.

    Called once at start, after the settings were read.

    Returns:
        One spec for each guard; all must admit.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_attempt_policies() -> "Iterable[specs.AttemptPolicySpec]":
    """Declare what may follow a failed attempt: retries, fallback chains.

    Called once at start, after the settings were read.

    Returns:
        One spec for each policy. They are asked in order and the first proposal wins;
        without any, each target of the plan is tried once. A cycle in `before` and `after`
        stops the start.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_limiters() -> "Iterable[specs.LimiterSpec]":
    """Declare limiters of callers: rates, quotas, budgets.

    Called once at start, after the settings were read.

    Returns:
        One spec for each limiter; all must admit, what was reserved is settled.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_cache_backends() -> "Iterable[specs.CacheSpec]":
    """Declare cache backends; ``cache.backend`` chooses the exact one by name.

    Called once at start, after the settings were read.

    Returns:
        One spec for each backend.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_security_filters() -> "Iterable[specs.SecurityFilterSpec]":
    """Declare security filters, each in one stage.

    Called once at start, after the settings were read.

    Returns:
        One spec for each filter. A cycle in `before` and `after` stops the start, and so
        does a filter that misses an enabled surface.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_observers() -> "Iterable[specs.ObserverSpec]":
    """Declare observers of requests and attempts.

    Called once at start, after the settings were read.

    Returns:
        One spec for each observer.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_stores() -> "Iterable[specs.StoreSpec]":
    """Declare stores; the scheme of ``database.url`` chooses one.

    Called once at start, after the settings were read.

    Returns:
        One spec for each scheme.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_services() -> "Iterable[specs.ServiceSpec]":
    """Declare what lives as long as the gateway: pools, background tasks.

    Called once at start, after the settings were read.

    Returns:
        One spec for each service; each is opened in a task of its own, in the order of
        names, and closed in reverse.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_endpoints() -> "Iterable[specs.EndpointSpec]":
    """Declare HTTP routes beside the client dialects.

    Called once at start, after the settings were read.

    Returns:
        One spec for each route, with the role it demands, and its scope: whether a key that
        belongs to a tenant may call it. What is not declared is refused.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_state_backends() -> "Iterable[specs.StateBackendSpec]":
    """Declare where counters and news are shared; ``state.backend`` chooses one by name.

    Called once at start, after the settings were read.

    Returns:
        One spec for each backend.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_ledgers() -> "Iterable[specs.LedgerSpec]":
    """Declare ledgers: each keeps one record of every admitted request.

    Called once at start, after the settings were read.

    Returns:
        One spec for each ledger; all are told.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_catalogs() -> "Iterable[specs.CatalogSpec]":
    """Declare catalogues of models and prices.

    Called once at start, after the settings were read.

    Returns:
        One spec for each catalogue; they are asked in the order of their names.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_auditors() -> "Iterable[specs.AuditorSpec]":
    """Declare auditors: each is told of security and administration.

    Called once at start, after the settings were read.

    Returns:
        One spec for each auditor; all are told.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_tracers() -> "Iterable[specs.TracerSpec]":
    """Declare what records traces: an SDK's provider of tracers, with its exporter.

    Called once at start, after the settings were read. Without one, requests make no span,
    unless the process was given a provider of tracers (``opentelemetry-instrument``).

    Returns:
        At most one spec; two plugins that declare one stop the start.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_redactors() -> "Iterable[specs.RedactorSpec]":
    """Declare what hides personal data in a text that is about to be kept.

    Called once at start, after the settings were read.

    Returns:
        One spec for each redactor; a text passes all of them, in the order of their names.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_secret_sources() -> "Iterable[specs.SecretSourceSpec]":
    """Declare where the values of ``${secret:NAME}`` come from.

    Called once at start and at each reload, before the settings are validated.

    Returns:
        One spec for each source. They are asked in the order of their names, those that
        need the store last, and only for what the ones before did not know.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """


@hookspec
def llm_gateway_tenant_data() -> "Iterable[specs.TenantDataSpec]":
    """Declare what the plugin keeps about tenants: exported and erased with the others.

    Called once at start, after the settings were read.

    Returns:
        One spec for each kind of data, what goes by itself too; names are unique among
        plugins.

    Raises:
        Any exception sets the plugin aside (phase declare).
    """
