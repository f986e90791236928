"""The command line: quick help, exit codes, JSON for programs."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import rich_click as click
from click.testing import CliRunner, Result
from llm_gateway.cli import Globals, LazyGroup, cli


def run(*args: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, args, prog_name="llm-gateway", env=env)


def test_help_is_quick() -> None:
    """Help imports neither pydantic nor the server, and lists every command."""
    code = (
        "import sys\nsys.argv = ['llm-gateway', '--help']\n"
        "from llm_gateway.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    print([m for m in ('pydantic', 'aiohttp', 'yaml') if m in sys.modules])"
    )
    began = time.monotonic()

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert time.monotonic() - began < 2  # 0.3 s; machines that test are busy
    assert done.stdout.rstrip().endswith("[]")
    for name in ("start", "config", "validate", "info", "plugins", "completions"):
        assert name in done.stdout


@pytest.mark.parametrize("flag", ["--json", "-k"])
def test_a_global_flag_behind_the_command_is_told_its_place(flag: str) -> None:
    done = run("plugins", "list", flag, "x") if flag == "-k" else run("completions", flag)

    assert done.exit_code == 2
    assert "stands before the command" in " ".join(done.output.split())


def test_validate(tmp_path: Path) -> None:
    """A bad file is exit code 1 and every problem; a good one 0."""
    path = tmp_path / "c.yaml"
    path.write_text("server: {prot: 1}\nother: 2")

    bad = run("validate", str(path), "--json")
    people = run("config", "validate", str(path))
    path.write_text("server: {port: 1}")
    good = run("config", "validate", str(path))

    document = json.loads(bad.stdout)
    assert bad.exit_code == people.exit_code == 1
    assert [each["path"] for each in document["problems"]] == ["server.prot", "other"]
    assert f"{path}: line 1: server.prot" in people.stderr
    assert good.exit_code == 0


def test_validate_refuses_what_start_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only binding finds is found, and nothing is opened or written for it."""
    monkeypatch.setenv("LLM_GATEWAY_DATA_DIR", str(tmp_path / "data"))
    path = tmp_path / "c.yaml"
    path.write_text("security: {auth: {enabled: false}}\nserver: {host: 192.0.2.1}")

    exposed = run("validate", str(path), "--json")
    path.write_text("routing: {strategy: nobodys}")
    strategy = run("config", "validate", str(path))
    path.write_text("cache: {backend: nobodys}")
    assert "pip install llm-gateway-cache-nobodys" in run("validate", str(path)).stderr
    path.write_text("server: {tls: {cert_file: /no/such.pem, key_file: /no/such.pem}}")
    certificate = run("validate", str(path))
    path.write_text(f"server: {{tls: {{cert_file: {path}, key_file: {path}}}}}")
    no_certificate = run("validate", str(path))
    absent = run("validate", str(tmp_path / "absent.yaml"))
    path.write_text("server: {port: 1}")
    good = run("config", "validate", str(path))

    assert (exposed.exit_code, strategy.exit_code, good.exit_code) == (1, 1, 0)
    assert "not loopback" in json.loads(exposed.stdout)["problems"][0]["message"]
    assert (
        f"{path}: line 1: routing.strategy: no installed plugin brings 'nobodys'" in strategy.stderr
    )
    assert "line 1: server.tls.cert_file: /no/such.pem: No such file" in certificate.stderr
    assert "no certificate in PEM" in no_certificate.stderr
    assert absent.stderr == f"{tmp_path}/absent.yaml: No such file or directory\n"
    assert not (tmp_path / "data").exists()


def test_validate_strict(tmp_path: Path) -> None:
    """`--strict` takes warnings for bad news."""
    path = tmp_path / "c.yaml"
    path.write_text("providers: {nobody_has_this: {enabled: false}}")

    assert run("validate", str(path)).exit_code == 0
    assert run("validate", str(path), "--strict").exit_code == 1


def test_config_show(tmp_path: Path) -> None:
    """The configuration in force, as JSON before or behind the command's name."""
    path = tmp_path / "c.yaml"
    path.write_text("server: {port: 7}\nproviders: {p: {kind: simulated, headers: {x-a: told}}}")

    for args in (["--json", "config", "show"], ["config", "show", "--json"]):
        shown = json.loads(run(*args, "-c", str(path)).stdout)
        assert shown["server"]["port"] == 7
        assert shown["providers"]["p"]["headers"] == {"x-a": "**********"}
        assert "default-src" in shown["security"]["headers"]["content_security_policy"]
    assert "port: 7" in run("config", "show", "-c", str(path)).stdout


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["nonsense"], 2),
        (["start", "--port", "x"], 2),
        (["start", "--workers", "0"], 2),
        (["plugins", "show", "no-such"], 1),
        (["completions", "tcsh"], 2),
        (["config", "show", "-c", "/no/such/file"], 1),
        (["config", "generate"], 0),
        (["config", "schema"], 0),
        (["info", "--detailed", "--json"], 0),
        (["plugins", "list"], 0),
        (["--version"], 0),
    ],
)
def test_exit_codes(args: list[str], code: int) -> None:
    """0 fine, 1 bad news, 2 wrong usage."""
    assert run(*args).exit_code == code


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_completions(shell: str) -> None:
    """Each shell gets a script that asks this program."""
    assert f"{shell}_complete" in run("completions", shell).stdout


def test_start_hands_on_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags become overrides, and the gateway's exit code the command's."""
    seen: list[Any] = []

    def fake(path: Path | None, overrides: dict[str, object], workers: int) -> int:
        seen.extend((path, overrides, workers))
        return 78

    monkeypatch.setattr("llm_gateway.app.run", fake)

    done = run("start", "-c", "x.yaml", "-p", "1", "--metrics-port", "2", "--workers", "3")

    assert done.exit_code == 78
    assert seen == [Path("x.yaml"), {"server.port": 1, "server.metrics_port": 2}, 3]


def test_globals_and_lazy_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's command loads when run, finds the flags, and a broken one says why."""
    table = {"fine": (f"{__name__}:probe", ""), "broken": ("no_such_module:x", "")}
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this())
    monkeypatch.setattr(LazyGroup, "_table", lambda self, ctx: table)

    fine = run("-k", "secret", "fine", env={"LLM_GATEWAY_URL": "http://gw"})
    broken = run("broken")

    assert fine.stdout == "http://gw secret\n"
    assert broken.exit_code == 1
    assert "no_such_module" in broken.output


def _this() -> Any:
    from types import ModuleType

    module = ModuleType(__name__)
    module.__dict__.update(globals())
    return module


def _probe() -> Any:
    import rich_click as click

    @click.command()
    @click.pass_obj
    def command(found: Globals) -> None:
        click.echo(f"{found.url} {found.api_key}")

    return command


probe = _probe()


def test_a_command_that_is_not_there_is_told_what_may_be_meant() -> None:
    assert "Did you mean 'start'?" in run("sart").stderr
    assert "plugins list" in run("brew", "coffee").stderr


@pytest.mark.parametrize(
    ("typed", "code", "told"), [("y\n", 0, "done"), ("n\n", 1, "Aborted"), ("", 2, "--force")]
)
def test_who_cannot_be_asked_is_told_of_the_flag_that_does_not_ask(
    typed: str, code: int, told: str
) -> None:
    @click.command()
    @click.pass_context
    def erase(ctx: click.Context) -> None:
        ctx.obj.confirm("Erase all?")
        click.echo("done")

    done = CliRunner().invoke(erase, input=typed, obj=Globals("", None, False, 0))

    assert done.exit_code == code
    assert told in done.output
