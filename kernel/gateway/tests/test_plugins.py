"""Plugins are found, asked one at a time, and set aside with a reason when they break."""

import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from llm_gateway.plugins import GROUP, Selection, commands, discover
from llm_gateway_api.errors import ConfigurationError

Write = Callable[[str, str], EntryPoint]
HEAD = "import llm_gateway_api as gw\nfrom llm_gateway_api.specs import *\n"
GUARD = HEAD + (
    "@gw.hookimpl\ndef llm_gateway_guards():\n    return [GuardSpec('{name}', lambda: None)]\n"
)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Make a module importable and name it as a plugin."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, source: str) -> EntryPoint:
        module = f"{tmp_path.name.replace('-', '_')}_{name}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        return EntryPoint(name, module, GROUP)

    return make


@pytest.mark.parametrize(
    ("source", "phase", "reason"),
    [
        ("1 / 0", "import", "ZeroDivisionError"),
        ("raise SystemExit(3)", "import", "SystemExit"),
        ("import no_such_module_at_all", "import", "ModuleNotFoundError"),
        (
            "@gw.hookimpl\ndef llm_gateway_gaurds():\n    return []",
            "register",
            "llm_gateway_gaurds; did you mean llm_gateway_guards?",
        ),
        ("@gw.hookimpl\ndef llm_gateway_guards(x):\n    return []", "register", "x"),
        ("@gw.hookimpl\nasync def llm_gateway_guards():\n    return []", "register", "async"),
        ("def llm_gateway_guards():\n    return []", "register", "@hookimpl"),
        (
            "@gw.hookimpl(wrapper=True)\ndef llm_gateway_guards():\n    return (yield)",
            "register",
            "wrapper",
        ),
        ("@gw.hookimpl\ndef llm_gateway_guards():\n    return 1 / 0", "declare", "ZeroDivision"),
        ("@gw.hookimpl\ndef llm_gateway_guards():\n    return [3]", "declare", "int"),
        ("@gw.hookimpl\ndef llm_gateway_guards():\n    return 3", "declare", "not iterable"),
        ("@gw.hookimpl\ndef llm_gateway_settings():\n    return 1 / 0", "settings", "ZeroDiv"),
        (
            "@gw.hookimpl\ndef llm_gateway_settings():\n    return [SettingsSpec('a', 3)]",
            "settings",
            "3",
        ),
        (
            "@gw.hookimpl\ndef llm_gateway_settings():\n    return [SettingsSpec('A.', int)]",
            "settings",
            "path",
        ),
        (
            "@gw.hookimpl\ndef llm_gateway_providers():\n    return [ProviderSpec('a', int, int)]",
            "declare",
            "ProviderSettings",
        ),
    ],
)
def test_discover_broken(write: Write, source: str, phase: str, reason: str) -> None:
    """A broken plugin is set aside with phase and reason; the next one is not touched."""
    points = [write("broken", HEAD + source), write("fine", GUARD.format(name="fine"))]

    found = discover(entry_points=points)

    broken, fine = found.plugins
    assert (broken.state, broken.phase) == ("set aside", phase)
    assert reason in str(broken.reason)
    assert (fine.state, fine.adds) == ("active", {"guards": ("fine",)})
    assert [name for name, _ in found.declared("guards")] == ["fine"]


def test_discover_disabled(write: Write) -> None:
    """A disabled plugin is listed and not imported."""
    found = discover(Selection(frozenset({"off"})), [write("off", "1 / 0")])

    assert [(each.name, each.state) for each in found.plugins] == [("off", "disabled")]


def test_set_aside(write: Write) -> None:
    """What is set aside later takes its declarations along."""
    found = discover(entry_points=[write("one", GUARD.format(name="one"))])

    found.set_aside("one", "bind", "it broke")

    assert found.declared("guards") == ()
    assert found.plugins[0].reason == "it broke"


@pytest.mark.parametrize(
    ("hook", "spec"),
    [
        ("settings", "SettingsSpec('security.thing', object)"),
        ("providers", "ProviderSpec('acme', gw.ProviderSettings, object)"),
        ("frontends", "FrontendSpec('d', 'POST', '/v1/x', 'chat', object)"),
        ("endpoints", "EndpointSpec('GET', '/x', None, object)"),
    ],
)
def test_discover_two_owners(write: Write, hook: str, spec: str) -> None:
    """Two owners of one thing stop the start, and both are named."""
    source = f"{HEAD}@gw.hookimpl\ndef llm_gateway_{hook}():\n    return [{spec}]"

    with pytest.raises(ConfigurationError, match="one and two both own"):
        discover(entry_points=[write("one", source), write("two", source)])


def test_commands(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """Broken commands are left out with a warning; a name of two plugins is nobody's."""
    source = HEAD + (
        "@gw.hookimpl\ndef llm_gateway_commands():\n"
        "    return [CommandSpec({0!r}, 'm:a', 'h'), CommandSpec('both', 'm:a', 'h')]"
    )
    points = [write("a", source.format("x")), write("b", source.format("y")), write("c", "1/0")]

    found = commands(points)

    assert sorted(found) == ["x", "y"]
    assert "plugin c" in (warnings := capsys.readouterr().err)
    assert "'both'" in warnings
