"""The configuration: layers, interpolation, owners, and all problems at once with lines."""

import json
from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from llm_gateway.plugins import GROUP, Plugins, discover
from llm_gateway.reporting import unmoved
from llm_gateway.sections import Server
from llm_gateway.selection import selected
from llm_gateway.settings import Settings, SettingsError, load, sample, schema
from llm_gateway_api.errors import ConfigurationError

PLUGIN = """
import llm_gateway_api as gw
from pydantic import RootModel, SecretStr

class Keyed(gw.ProviderSettings):
    required = ("api_key",)
    api_key: SecretStr
    base: str = "https://example.test"

class Limit(gw.Section):
    enabled: bool = True
    per_minute: int

class Masking(gw.Section):
    logs: bool = True
    prompts: bool = False

class Rules(RootModel[tuple[dict[str, str], ...]]):
    root: tuple[dict[str, str], ...] = ()

class Memory(gw.Section):
    size: int = 1

@gw.hookimpl
def llm_gateway_settings():
    return [gw.SettingsSpec("security.rate_limit", Limit), gw.SettingsSpec("routing.rules", Rules),
            gw.SettingsSpec("cache.memory", Memory),
            gw.SettingsSpec("plugins.masking", Masking, switch="prompts"),
            gw.SettingsSpec("plugins.waiting", Memory, waits=True)]

@gw.hookimpl
def llm_gateway_cache_backends():
    return [gw.CacheSpec("memory", object)]

@gw.hookimpl
def llm_gateway_providers():
    return [
        gw.ProviderSpec("acme", Keyed, object, "ACME_KEY", {"api_key": "ACME_KEY", "base": "ACME"}),
        gw.ProviderSpec("toy", gw.ProviderSettings, object, standalone=True),
    ]
"""


CLASH = "telemetry: {metrics: {port: 7}}\nserver: {metrics_port: 9}"


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plugins:
    monkeypatch.syspath_prepend(tmp_path)
    module = f"{tmp_path.name.replace('-', '_')}_plugin"
    (tmp_path / f"{module}.py").write_text(PLUGIN)
    return discover(entry_points=[EntryPoint("limit_rate", module, GROUP)])


class Loading:
    def __init__(self, folder: Path, plugins: Plugins) -> None:
        self.path = folder / "config.yaml"
        self.plugins = plugins

    def __call__(self, text: str = "", env: Mapping[str, str] = {}, **flags: Any) -> Settings:
        self.path.write_text(dedent(text))
        overrides = {key.replace("__", "."): value for key, value in flags.items()}
        return load(self.path, env, self.plugins, overrides)

    def problems(self, text: str, env: Mapping[str, str] = {}) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            self(text, env)
        return [str(each) for each in caught.value.problems]


@pytest.fixture
def loading(tmp_path: Path, plugins: Plugins) -> Loading:
    return Loading(tmp_path, plugins)


def test_defaults(loading: Loading) -> None:
    """Nothing said: defaults, the standalone provider, and parts that wait are None."""
    settings = loading()

    assert (settings.server.port, settings.server.drain_seconds) == (8080, 30)
    assert settings.resilience.timeout.chunk_gap_seconds == 60
    assert list(settings.providers) == ["toy"]
    assert settings.section("security.rate_limit") is None
    assert settings.section("cache") is None
    assert getattr(settings.section("routing.rules"), "root", None) == ()
    assert settings.named == frozenset()


def test_all_problems(loading: Loading) -> None:
    """Each problem is told with its line, its key and the reason."""
    found = loading.problems(
        """\
        server:
          prot: 1
          port: many
        resilience:
          retry: {max_attempts: 3}
        security:
          rate_limit: {per_minit: 1}
        providers:
          acme: {api_key: "${NO_KEY}"}
          other: {}
          toy: {models: [{idd: x}]}
        routing: {default_provider: acmee}
        srever: {}
        plugins: {provider_acme: {}}
        cache: {disk: {}, memory: {size: 2}}
        """
    )

    for start, part in [
        ("line 2: server.prot", "did you mean 'port'?"),
        ("line 3: server.port", "must be a whole number"),
        ("line 5: resilience.retry", "pip install llm-gateway-policy-retry"),
        ("line 7: security.rate_limit.per_minit", "did you mean 'per_minute'?"),
        ("line 7: security.rate_limit.per_minute", "is missing"),
        ("line 9: providers.acme.api_key", "NO_KEY"),
        ("line 10: providers.other", "pip install llm-gateway-provider-other"),
        ("line 11: providers.toy.models.0.id:", "is missing"),
        ("line 11: providers.toy.models.0.idd", "did you mean 'id'?"),
        ("line 12: routing.default_provider", "did you mean 'acme'?"),
        ("line 13: srever", "did you mean 'server'?"),
        ("line 14: plugins.provider_acme", "pip install llm-gateway-provider-acme"),
        ("line 15: cache.disk", "pip install llm-gateway-cache-disk"),
    ]:
        assert [each for each in found if each.startswith(start) and part in each], (start, found)
    assert len(found) == 13


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("routing: {models: gpt}", "line 1: routing.models: must be a list, as in [a, b]"),
        ("server: 8080", "line 1: server: must be a mapping of keys to values"),
        ("server: {port: 70000}", "line 1: server.port: must be less than or equal to 65535"),
        ("server: {port: 7, metrics_port: 7}", "line 1: server: port and metrics_port are both 7"),
        ("telemetry: {logging: {pii_redaction: maybe}}", "pii_redaction: must be true or false"),
        ("routing: {default_provider: other}", "no provider is called 'other'; known here: toy"),
        ("providers: {toy: {}, toy/two: {kind: toy}}", "providers.toy/two: a name holds no '/'"),
        ("providers: {toy: {headers: {a b: c}}}", "is no name of an HTTP header"),
        ('providers: {toy: {headers: {a: "b\\r\\nc: d"}}}', "it holds a control character"),
        ("providers: {toy: {region: '${A B}'}}", "line 1: providers.toy.region: '${' begins"),
        ("providers: {toy: {region: '${A'}}", "write ${NAME}, ${NAME:-default} or"),
        ("providers: {toy: {region: '${secret:}'}}", "and $$ for a dollar"),
        ("providers: {toy: {region: '${A:-${B}}'}}", "none within another"),
    ],
)
def test_a_fault_is_told_in_words_of_the_file(loading: Loading, text: str, told: str) -> None:
    if "providers" not in text:
        text += "\nproviders: {toy: {}}"

    assert any(told in each for each in loading.problems(text)), loading.problems(text)


def test_a_variable_of_no_section_is_warned_about(loading: Loading) -> None:
    settings = loading(env={"LLM_GATEWAY_SERVR__PORT": "1", "LLM_GATEWAY_PORT_80_TCP": "x"})

    assert settings.warnings == (
        "LLM_GATEWAY_SERVR__PORT is read by nobody: no section is 'servr'; did you mean 'server'?",
    )


def test_a_plugin_that_nobody_can_disable_is_warned_about(loading: Loading) -> None:
    settings = loading("plugins: {disabled: [limit_rat, limit_rate]}")

    assert settings.warnings == (
        "plugins.disabled: no plugin is called 'limit_rat'; did you mean 'limit_rate'?",
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1", 1), ("server: {}\nserver: {}", 2), ("- 1", 1), ("a:\n  b: 1\n c: 2", 3)],
)
def test_not_a_configuration(loading: Loading, text: str, line: int) -> None:
    """Broken YAML and a key that stands twice are problems with a line."""
    with pytest.raises(SettingsError) as caught:
        loading(text)

    assert caught.value.problems[0].line is not None
    assert caught.value.problems[0].line >= line


def test_layers(loading: Loading) -> None:
    """Flags win over variables, the long variable over the short, all over the file."""
    text = "server: {port: 1, host: a, timeout_seconds: 1, metrics_port: 5}"
    deployment = {"provider": "y", "model": "z"}
    env = {
        "SERVER_PORT": "2",
        "SERVER_HOST": "b",
        "METRICS_PORT": "6",
        "LLM_GATEWAY_SERVER__HOST": "c",
        "LLM_GATEWAY_SERVER__TIMEOUT_SECONDS": "4",
        "LLM_GATEWAY_ROUTING__MODELS": json.dumps([{"name": "x", "deployments": [deployment]}]),
        "LLM_GATEWAY_PORT": "tcp://10.0.0.1:80",
        "LLM_GATEWAY_SERVICE_HOST": "10.0.0.1",
        "LOG_LEVEL": "WARN",
    }

    settings = loading(text, env, server__port=3)

    server = settings.server
    assert (server.port, server.host, server.timeout_seconds) == (3, "c", 4)
    assert server.metrics_port == 6
    assert [each.name for each in settings.routing.models] == ["x"]
    assert settings.telemetry.logging.level == "warning"
    assert "server.host" in settings.named


def test_a_variable_for_a_contract_that_nobody_meets_is_passed_over(loading: Loading) -> None:
    """Many platforms set it for every program; that refuses no start."""
    settings = loading("", {"DATABASE_URL": "postgresql://db/x"})

    assert settings.section("database") is None
    assert [each for each in settings.warnings if "DATABASE_URL" in each]


def test_addresses_of_what_lies_behind_come_from_their_variables(tmp_path: Path) -> None:
    """Over the file; with the plugins that are installed here."""
    file = tmp_path / "gateway.yaml"
    file.write_text("state: {redis_url: 'redis://file'}")
    env = {"DATABASE_URL": "postgresql://u:$p@db/x", "REDIS_URL": "redis://cache:6379/1"}

    settings = load(file, env, discover(selected(None, {})))

    database: Any = settings.section("database")
    state: Any = settings.section("state")
    assert database.url == "postgresql://u:$p@db/x"
    assert state.redis_url == "redis://cache:6379/1"


def test_variable_problem_names_variable(loading: Loading) -> None:
    """A wrong value that the file does not hold is blamed on its variable."""
    (problem,) = loading.problems("server: {port: 1}", {"SERVER_PORT": "x"})

    assert problem.startswith("server.port")
    assert "from SERVER_PORT" in problem


def test_interpolation(loading: Loading) -> None:
    """Variables, defaults and `$$` in any value; an environment's text is taken as it is."""
    text = """
        providers:
          acme:
            api_key: "${KEY}"
            base: "${EMPTY:-https://x}/$$a/${KEY}"
            max_retries: ${N:-5}
        """
    env = {"KEY": "k$1", "EMPTY": "", "LLM_GATEWAY_PROVIDERS__ACME__REGION": "${KEY}"}

    acme: Any = loading(text, env).providers["acme"]

    assert acme.base == "https://x/$a/k$1"
    assert acme.api_key.get_secret_value() == "k$1"
    assert (acme.max_retries, acme.region) == (5, "${KEY}")


def test_a_file_is_parsed_once_for_its_plugins_and_its_settings(
    loading: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one of both changes in it, as variables do, the other does not see."""
    parsed: list[str] = []

    class Counting(yaml.SafeLoader):
        def __init__(self, text: str) -> None:
            parsed.append(text)
            super().__init__(text)

    monkeypatch.setattr(yaml, "SafeLoader", Counting)
    text = "server: {host: once.example}"
    changed = loading(text, {"SERVER_HOST": "other.example"})
    selected(loading.path, {})
    settings = loading(text)

    assert len(parsed) == 1
    assert (changed.server.host, settings.server.host) == ("other.example", "once.example")


def test_missing_variable_where_disabled(loading: Loading) -> None:
    """What is off needs no variables."""
    text = """
        providers:
          acme: {enabled: false, api_key: "${NO}"}
          later: {enabled: "${OFF:-false}", base: "${NO}"}
          toy: {}
        security: {rate_limit: {enabled: false, per_minute: 1}}
        """
    settings = loading(text)

    assert list(settings.providers) == ["toy"]
    assert "llm-gateway-provider-later" in settings.warnings[0]


def test_empty_key(loading: Loading) -> None:
    """A provider without its key is off, with a warning; it may be named all the same."""
    settings = loading('{providers: {acme: {api_key: ""}}, routing: {default_provider: acme}}')

    assert not settings.providers
    assert settings.warnings == (
        "provider acme is off: its api_key is empty",
        "no provider is in service: every model is answered with 404",
    )


def test_providers_from_environment(loading: Loading) -> None:
    """Without `providers`, a kind whose variable is set is on, and no standalone one."""
    settings = loading("", {"ACME_KEY": "k", "ACME": "https://b"})

    acme: Any = settings.providers["acme"]
    assert list(settings.providers) == ["acme"]
    assert (acme.base, acme.kind) == ("https://b", "acme")


def test_an_entry_of_the_kinds_name_may_leave_its_key_to_the_variable(loading: Loading) -> None:
    """What the entry says counts, also when it says nothing; other names have to say theirs."""
    variables = {"ACME_KEY": "k", "ACME": "https://b"}
    settings = loading("providers: {acme: {base: 'https://c'}, two: {kind: acme}}", variables)
    emptied = loading("providers: {acme: {api_key: ''}}", variables)

    acme: Any = settings.providers["acme"]
    assert (acme.api_key.get_secret_value(), acme.base) == ("k", "https://c")
    assert settings.warnings == ("provider two is off: its api_key is empty",)
    assert not emptied.providers


def test_second_instance(loading: Loading) -> None:
    """Any name will do with a `kind`."""
    assert loading("providers: {mine: {kind: toy}}").providers["mine"].kind == "toy"


def test_owned_sections(loading: Loading) -> None:
    """Plugins own paths inside the kernel's sections and the contracts'."""
    settings = loading(
        """
        security: {rate_limit: {per_minute: 3}}
        routing: {rules: [{name: a}], strategy: x}
        cache: {max_size_mb: 2, memory: {size: 7}}
        """
    )

    section: Any = settings.section
    assert section("security.rate_limit").per_minute == 3
    assert section("routing.rules").root == ({"name": "a"},)
    assert (section("cache").max_size_mb, section("cache.memory").size) == (2, 7)
    assert settings.effective()["cache"]["memory"] == {"size": 7}


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        ("", False),
        ("plugins: {}", False),
        ("plugins: {masking: {}, waiting: {}}", True),
        ("plugins:\n  masking:\n  waiting:", True),
        ("plugins: {masking: {logs: false}, waiting: {size: 2}}", True),
        ("plugins: {masking: {prompts: false}, waiting: {}}", False),
    ],
)
def test_a_section_stands_once_its_name_is_written(
    loading: Loading, text: str, prompts: bool
) -> None:
    """Even with nothing below it: its switch is on, and it waits no longer."""
    settings = loading(text)
    section: Any = settings.section("plugins.masking")

    assert section.prompts is prompts
    assert (settings.section("plugins.waiting") is not None) is ("waiting" in text)


def test_an_empty_section_from_a_variable_stands(loading: Loading) -> None:
    section: Any = loading("", {"LLM_GATEWAY_PLUGINS__MASKING": "{}"}).section("plugins.masking")

    assert section.prompts and section.logs


@pytest.mark.parametrize("path", ["server", "providers", "resilience.timeout", "routing.models"])
def test_kernel_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """What the kernel owns no plugin may claim."""
    monkeypatch.syspath_prepend(tmp_path)
    module = f"{tmp_path.name.replace('-', '_')}_claims"
    source = PLUGIN.replace("security.rate_limit", path)
    (tmp_path / f"{module}.py").write_text(source)
    plugins = discover(entry_points=[EntryPoint("claims", module, GROUP)])

    with pytest.raises(ConfigurationError, match=f"the kernel and claims both own .*{path}"):
        load(None, {}, plugins)


@pytest.mark.parametrize(
    ("text", "env", "port"),
    [
        ("telemetry: {metrics: {port: 7}}", {}, 7),
        ("telemetry: {metrics: {port: 7}}\nserver: {metrics_port: 7}", {}, 7),
        ("telemetry: {metrics: {port: 7}}", {"METRICS_PORT": "8"}, 8),
    ],
)
def test_metrics_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, env: dict[str, str], port: int
) -> None:
    """`telemetry.metrics.port` is another name of `server.metrics_port`."""
    monkeypatch.syspath_prepend(tmp_path)
    module = f"{tmp_path.name.replace('-', '_')}_metrics"
    source = PLUGIN.replace("security.rate_limit", "telemetry.metrics")
    source = source.replace("per_minute: int", "port: int | None = None")
    (tmp_path / f"{module}.py").write_text(source)
    plugins = discover(entry_points=[EntryPoint("page", module, GROUP)])
    loading = Loading(tmp_path, plugins)

    assert loading(text, env).server.metrics_port == port
    assert "they are one" in loading.problems(CLASH)[0]


def test_set_aside_owner(loading: Loading) -> None:
    """A section whose plugin broke says so, instead of naming a package to install."""
    loading.plugins.set_aside("limit_rate", "bind", "boom")

    (problem,) = loading.problems("security: {rate_limit: {}}")

    assert "limit_rate was set aside in phase bind: boom" in problem


def test_effective_masks(loading: Loading) -> None:
    """Secrets never show."""
    text = (
        "providers: {acme: {api_key: hush, headers: {authorization: hush}, region: 'a://u:hush@h'}}"
    )

    shown = yaml.safe_dump(loading(text).effective())

    assert "hush" not in shown


def test_disabled(loading: Loading) -> None:
    """What is disabled is known before any plugin is loaded."""
    loading.path.write_text("plugins: {disabled: [a, b]}\nnonsense: 1")

    assert selected(loading.path, {}).disabled == {"a", "b"}
    assert selected(None, {"LLM_GATEWAY_PLUGINS__DISABLED": '["c"]'}).disabled == {"c"}


def test_schema_and_sample(loading: Loading, plugins: Plugins) -> None:
    """The schema holds what plugins add; the sample loads, and names every section."""
    whole = schema(plugins)

    assert "rules" in whole["$defs"]["Routing"]["properties"]
    assert "rate_limit" in whole["$defs"]["Security"]["properties"]
    assert set(whole["properties"]["providers"]["properties"]) == {"acme", "toy"}
    text = sample(plugins)
    assert loading(text) == loading("")
    uncommented = "\n".join(line.removeprefix("# ") for line in text.splitlines()[1:])
    assert set(yaml.safe_load(uncommented)) == set(whole["properties"])


def test_an_address_that_changed_is_said_to_wait_for_a_start() -> None:
    new, old = Server(port=8081, metrics_port=9090), Server(port=8080, drain_seconds=5)

    assert unmoved(new, old) == ["server.port is now 8081: it is taken at the next start"]
