"""Reads the configuration: file, variables, flags; every problem is found before one is told.

`layers` merges and interpolates; here, what plugins own is cut out, and each part validated
with its owner's model.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeAlias

from llm_gateway_api.errors import ConfigurationError
from llm_gateway_api.settings import ProviderSettings
from llm_gateway_api.specs import ProviderSpec
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from llm_gateway.layers import (
    ABSENT,
    Key,
    Layers,
    cut,
    is_off,
    mapping_at,
    paths,
    put,
    value_at,
)
from llm_gateway.layers import SettingsError as SettingsError
from llm_gateway.masking import MASK, masked, secrets_in
from llm_gateway.modelpaths import is_empty, names_at, real
from llm_gateway.plugins import Plugins
from llm_gateway.sections import (
    CONTRACTS,
    KERNEL,
    PACKAGES,
    PluginSection,
    Resilience,
    Routing,
    Security,
    Server,
    Telemetry,
)
from llm_gateway.settingsdoc import sample as sample
from llm_gateway.settingsdoc import schema as schema
from llm_gateway.wording import meant, plainly

_PROVIDERS = "providers"


Read: TypeAlias = Callable[["Loader", frozenset[str]], None]  # sets `secrets` and `unread`


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration, validated. `named` are the paths that somebody wrote."""

    server: Server
    providers: Mapping[str, ProviderSettings]
    routing: Routing
    resilience: Resilience
    security: Security
    telemetry: Telemetry
    plugins: PluginSection
    warnings: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()
    sections: Mapping[str, object] = field(default_factory=dict)
    secrets: tuple[SecretStr, ...] = ()  # what may be shown nowhere

    def section(self, path: str) -> object | None:
        """The settings at `path`; None where nothing is said and defaults do not suffice."""
        return self.sections.get(path)

    def effective(self) -> dict[str, Any]:
        """All that is in force as plain data, secrets masked."""
        result: dict[str, Any] = {}
        for path in sorted(self.sections, key=lambda each: each.count(".")):
            value = self.sections[path]
            if value is not None:
                put(result, tuple(path.split(".")), _dumped(value))
        result[_PROVIDERS] = {name: _dumped(each) for name, each in self.providers.items()}
        return {key: masked(key, value, self.secrets) for key, value in result.items()}


def load(
    path: Path | None,
    environ: Mapping[str, str],
    plugins: Plugins,
    overrides: Mapping[str, object] = {},
    read: "Read | None" = None,
) -> Settings:
    """The settings of `path`, below those of `environ`, below those of `overrides`. Secrets
    come from `read`; without it nothing is asked, and each is a row of stars.

    Raises:
        SettingsError: with every problem that was found.
        ConfigurationError: a plugin claims what the kernel owns.
    """
    return Loader(environ, plugins).load(path, overrides, read)


def server_section(
    path: Path | None, environ: Mapping[str, str], overrides: Mapping[str, object]
) -> Server:
    """The section ``server`` alone, without any plugin; raises `SettingsError`."""
    loader = Loader(environ, Plugins())
    loader.merge(path, overrides)
    loader.share_metrics_port()
    given = loader.interpolated(("server",), loader.source.data.get("server"), False)
    section = loader._validated(("server",), Server, given or {})
    if not isinstance(section, Server):
        raise SettingsError(list(loader.problems.values()))
    return section


class Loader(Layers):
    def __init__(self, environ: Mapping[str, str], plugins: Plugins) -> None:
        claims = plugins.declared("settings")
        named = [*PACKAGES, *KERNEL, *CONTRACTS, _PROVIDERS, *(spec.path for _, spec in claims)]
        super().__init__(environ, (each.split(".")[0] for each in named))
        self.plugins = plugins
        self.owners: dict[Key, tuple[str, Any]] = {}  # path to plugin and model
        self.waiting = {tuple(spec.path.split(".")) for _, spec in claims if spec.waits}
        self.switches = {tuple(s.path.split(".")): s.switch for _, s in claims if s.switch}
        for plugin, spec in claims:
            self._claim(plugin, tuple(spec.path.split(".")), spec.model)
        self.contracts = {
            name: model for name, (hook, model) in CONTRACTS.items() if plugins.declared(hook)
        }
        self.absent = frozenset(CONTRACTS.keys() - self.contracts.keys())

    def load(
        self, path: Path | None, overrides: Mapping[str, object], read: "Read | None" = None
    ) -> Settings:
        self.merge(path, overrides)
        self.share_metrics_port()
        if wanted := self.references((), self.source.data, False):
            if read is not None:
                read(self, wanted)
            else:
                self.secrets = dict.fromkeys(wanted, SecretStr(MASK))
        data = self.interpolated((), self.source.data, False)
        written = frozenset(".".join(map(str, key)) for key in paths(data))
        providers = self._providers(data.pop(_PROVIDERS, None))
        sections: dict[str, object] = {}
        for key in sorted(self.owners, key=len, reverse=True):
            sections[".".join(map(str, key))] = self._owned(key, cut(data, key))
        for name, model in {**KERNEL, **self.contracts}.items():
            value = data.pop(name, ABSENT)
            if value is ABSENT and name == "cache":
                continue  # waits for its part of the configuration
            given = {} if value is ABSENT or value is None else value
            sections[name] = self._validated((name,), model, given)
            self._unknown_extras(name, sections[name])
        for name, value in data.items():
            self._leftover((name,), value)
        self._check_names(sections["routing"])
        if self.problems:
            order = sorted(self.problems.values(), key=lambda each: (each.line or 0, each.path))
            raise SettingsError(order)
        kernel: dict[str, Any] = {name: sections[name] for name in KERNEL}
        self._doubt(kernel["plugins"].disabled, providers)
        return Settings(
            **kernel,
            providers=providers,
            warnings=tuple(self.warnings),
            named=written,
            sections=sections,
            secrets=(*self.secrets.values(), *secrets_in(sections), *secrets_in(providers)),
        )

    def section(self, path: str) -> object | None:
        """One section ahead of the rest, with the variables and secrets known by now; what is
        wrong with it is told when all is read."""
        problems, key = dict(self.problems), tuple(path.split("."))
        try:
            value = value_at(self.source.data, key)
            given = value if value is ABSENT else self.interpolated(key, value, False)
            if key in self.owners:
                return self._owned(key, given)
            model = self.contracts[path]
            return self._validated(key, model, {} if given in (ABSENT, None) else given)
        finally:
            self.problems = problems

    def _providers(self, entries: Any) -> dict[str, ProviderSettings]:
        specs: dict[str, ProviderSpec] = {
            spec.kind: spec for _, spec in self.plugins.declared(_PROVIDERS)
        }
        if entries is None:
            found = self._instances(
                {kind: self._from_environment(each) for kind, each in specs.items() if each.env},
                specs,
            )
            return found or self._instances(
                {kind: {} for kind, each in specs.items() if each.standalone}, specs
            )
        if not isinstance(entries, dict):
            self.problem((_PROVIDERS,), "is a mapping of names to settings")
            return {}
        return self._instances(entries, specs)

    def _from_environment(self, spec: ProviderSpec) -> dict[str, object] | None:
        if not spec.env or not self.environ.get(spec.env):
            return None
        self.origins[(_PROVIDERS, spec.kind)] = spec.env
        return self._said_by_variables(spec, spec.environment)

    def _said_by_variables(self, spec: ProviderSpec, settings: Iterable[str]) -> dict[str, object]:
        """Those of `settings` whose variables are set."""
        given = {each: spec.environment[each] for each in settings if each in spec.environment}
        given = {each: name for each, name in given.items() if self.environ.get(name)}
        self.origins |= {(_PROVIDERS, spec.kind, each): name for each, name in given.items()}
        return {each: self.environ[name] for each, name in given.items()}

    def _instances(
        self, entries: Mapping[str, Any], specs: Mapping[str, ProviderSpec]
    ) -> dict[str, ProviderSettings]:
        found = {}
        for name, entry in entries.items():
            if entry is None and name not in mapping_at(self.source.data, _PROVIDERS):
                continue  # its variable is not set
            if "/" in name:
                self.problem((_PROVIDERS, name), "a name holds no '/': that begins the model")
            elif not isinstance(entry, dict | None):
                self.problem((_PROVIDERS, name), "is a mapping of settings")
            elif settings := self._instance(name, self._completed(name, entry or {}, specs), specs):
                found[name] = settings
        return found

    def _completed(
        self, name: str, entry: dict[str, Any], specs: Mapping[str, ProviderSpec]
    ) -> dict[str, Any]:
        """With the kind's own variables for what an entry by the kind's name leaves out."""
        if name not in specs or str(entry.get("kind") or name) != name:
            return entry
        unsaid = [each for each in specs[name].environment if each not in entry]
        return {**self._said_by_variables(specs[name], unsaid), **entry}

    def _instance(
        self, name: str, entry: dict[str, Any], specs: Mapping[str, ProviderSpec]
    ) -> ProviderSettings | None:
        key: Key = (_PROVIDERS, name)
        kind = str(entry.get("kind") or name)
        off = is_off(entry.get("enabled"))
        if kind not in specs:
            message = self._no_kind(name, kind, specs)
            if off:
                self.warnings.append(f"{_PROVIDERS}.{name} is disabled; {message}")
            else:
                self.problem(key, message)
            return None
        model: Any = specs[kind].settings
        given = {**entry, "kind": kind}
        empty = [
            each.replace("|", " or ")
            for each in model.required
            if all(is_empty(given, model, name) for name in each.split("|"))
        ]
        # One that is out of service is still held to its keys, and to no more.
        settings = self._validated(key, model, given, keys_only=off or bool(empty))
        if off:
            return None
        if empty and not any((*key, each) in self.problems for each in empty):
            self.warnings.append(f"provider {name} is off: its {', '.join(empty)} is empty")
        return settings if isinstance(settings, ProviderSettings) and not empty else None

    def _no_kind(self, name: str, kind: str, specs: Iterable[str]) -> str:
        package = f"provider-{kind.replace('_', '-')}"
        near = get_close_matches(kind, list(specs), 1)
        other = f"did you mean {near[0]!r}, or: " if near else ""
        own = f", or give the entry its `kind` ({', '.join(specs)})" if kind == name else ""
        return f"no provider of kind {kind!r}; {other}{self._install(package)}{own}"

    def _owned(self, key: Key, value: Any) -> object | None:
        plugin, model = self.owners[key]
        if value is ABSENT and key in self.waiting:
            return None
        if key in self.switches and isinstance(value, dict | None):
            value = {self.switches[key]: True, **(value or {})}
        if value is ABSENT or value is None:
            try:
                return model()  # type: ignore[no-any-return]  # whatever the plugin's model is
            except Exception:  # it has required keys
                if value is ABSENT:
                    return None  # and waits for its part of the configuration
                value = {}
        return self._validated(key, model, value, plugin=plugin)

    def _validated(
        self,
        key: Key,
        model: Any,
        value: Any,
        *,
        keys_only: bool = False,
        plugin: str | None = None,
    ) -> object | None:
        try:
            result: object = TypeAdapter(model).validate_python(value)
            return result
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
        except Exception as error:  # a validator of a plugin
            self.problem(key, f"plugin {plugin} failed on it: {type(error).__name__}: {error}")
            return None
        for each in sorted(details, key=lambda each: -len(each["loc"])):
            at = (*key, *real(each["loc"], value, each["type"] == "missing"))
            if each["type"] == "extra_forbidden":
                self._unknown(at, names_at(model, each["loc"][:-1]))
            elif not keys_only and not any(p[: len(at)] == at for p in self.problems):
                self.problem(at, plainly(each["type"], each["msg"]))
        return None

    def _unknown_extras(self, name: str, section: object | None) -> None:
        if not isinstance(section, BaseModel) or not section.model_extra:
            return
        backends = {spec.name for _, spec in self.plugins.declared(CONTRACTS[name][0])}
        for extra in set(section.model_extra) - backends:
            self._unknown((name, extra), set(type(section).model_fields))

    def _leftover(self, key: Key, value: Any) -> None:
        below = any(len(each) > len(key) and each[: len(key)] == key for each in self.owners)
        if below and isinstance(value, dict):
            for name, each in value.items():
                self._leftover((*key, name), each)
        elif not (below and value is None):
            self._unknown(key, set(self.tops) if len(key) == 1 else set())

    def _unknown(self, key: Key, known: set[str]) -> None:
        """Say who would know `key`, or what was meant."""
        name, parent = str(key[-1]), key[:-1]
        dotted = ".".join(map(str, key))
        depth = len(key)
        known_paths = [*self.owners, *(tuple(each.split(".")) for each in PACKAGES)]
        known |= {
            str(p[depth - 1]) for p in known_paths if len(p) >= depth and p[: depth - 1] == parent
        }
        known.discard("*")
        wild = PACKAGES.get(".".join(map(str, (*parent, "*"))))
        broken = (each for each in self.plugins.plugins if each.state != "active")
        if missed := next((e for e in broken if f"_{e.name}".endswith(f"_{name}")), None):
            message = f"belongs to a plugin: {self._install(missed.name)}"
        elif dotted in PACKAGES:
            message = f"belongs to a plugin: {self._install(PACKAGES[dotted])}"
        elif wild and not get_close_matches(name, known, 1):
            package = wild.replace("*", name.replace("_", "-"))
            message = f"belongs to a plugin: {self._install(package)}"
        else:
            message = f"unknown key{meant(name, known)}"
        self.problem(key, message)

    def _install(self, package: str) -> str:
        plugin = self.plugins.get(package.replace("-", "_"))
        if plugin and plugin.state == "set aside":
            return f"{plugin.name} was set aside in phase {plugin.phase}: {plugin.reason}"
        if plugin and plugin.state == "disabled":
            return f"{plugin.name} is disabled by plugins.disabled"
        return f"pip install llm-gateway-{package}"

    def _check_names(self, routing: object) -> None:
        entries = self.source.data.get(_PROVIDERS)
        if not isinstance(entries, dict) or not isinstance(routing, Routing):
            return
        used: list[tuple[Key, str | None]] = [(("default_provider",), routing.default_provider)]
        for i, model in enumerate(routing.models):
            used += [
                (("models", i, "deployments", j, "provider"), each.provider)
                for j, each in enumerate(model.deployments)
            ]
        for key, name in used:
            if name is not None and name not in entries:
                message = f"no provider is called {name!r}{meant(name, entries)}"
                self.problem(("routing", *key), message)

    def _doubt(self, disabled: Iterable[str], providers: Mapping[str, ProviderSettings]) -> None:
        """Warn of what does nothing, or leaves nothing to do."""
        known = {each.name for each in self.plugins.plugins}
        for name in disabled:
            if name not in known:
                self.warnings.append(
                    f"plugins.disabled: no plugin is called {name!r}{meant(name, known)}"
                )
        if not providers and any(self.plugins.declared(_PROVIDERS)):
            self.warnings.append("no provider is in service: every model is answered with 404")

    def _claim(self, plugin: str, key: Key, model: Any) -> None:
        top = str(key[0])
        inside = len(key) > 1 and top in KERNEL and key[1] in KERNEL[top].model_fields
        same = inside and (len(key) == 2 or key[2] in names_at(KERNEL[top], key[1:2]))
        if same or (len(key) == 1 and (top in KERNEL or top == _PROVIDERS)):
            raise ConfigurationError(
                f"the kernel and {plugin} both own the settings path {'.'.join(map(str, key))}"
            )
        self.owners[key] = (plugin, model)


def _dumped(value: object) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")
