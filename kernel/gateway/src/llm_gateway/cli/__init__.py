"""``llm-gateway``: the global flags and the table of commands.

Nothing heavy is imported here: a command's module loads when the command runs, so that
``--help`` is quick and works whatever else is broken.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

if TYPE_CHECKING:
    from llm_gateway.cli.installation import Installation

F = TypeVar("F", bound=Callable[..., Any])
PROGRAM = "llm-gateway"
COMPLETE = "_LLM_GATEWAY_COMPLETE"
CONTEXT = {"help_option_names": ["-h", "--help"]}

_COMMANDS = {
    "start": ("llm_gateway.cli.start:start", "Serve requests until a signal."),
    "config": ("llm_gateway.cli.configuration:config", "Show, check or explain configurations."),
    "validate": ("llm_gateway.cli.configuration:validate", "Check a configuration file."),
    "info": ("llm_gateway.cli.about:info", "Say what is installed."),
    "plugins": ("llm_gateway.cli.about:plugins", "List and check the installed plugins."),
    "completions": ("llm_gateway.cli.completions:completions", "Print a shell's completions."),
}


@dataclass(slots=True)
class Globals:
    """The global flags, which every command finds in ``ctx.obj``."""

    url: str
    api_key: str | None
    json: bool
    verbose: int

    def installation(self, path: str | None) -> "Installation":
        """The store and the migrations that the configuration at `path` means, not opened."""
        from llm_gateway.cli.installation import installation

        return installation(path)

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
    ) -> Any:
        """The JSON that the gateway at `url` answers; empty values of `query` are left out."""
        from llm_gateway.cli.remote import ask

        return ask(self.url, self.api_key, method, path, query or {}, body)

    def confirm(self, question: str) -> None:
        """Go on only if a person says yes; where nobody can be asked, ``--force`` is named.

        Raises:
            click.Abort: the answer was no.
            click.UsageError: standard input has no answer.
        """
        try:
            agreed = click.confirm(question, err=True)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            click.echo(err=True)  # the question's line has no end yet
            raise click.UsageError("Nobody is there to answer; --force does not ask.") from None
        if not agreed:
            raise click.Abort

    def show(self, head: Sequence[str], rows: Sequence[Sequence[str]], document: Any) -> None:
        """A table of `rows` for people, or `document` as JSON for programs."""
        from llm_gateway.cli.output import print_json, print_table

        if self.json:
            print_json(document)
        else:
            print_table(head, rows)


class LazyGroup(click.RichGroup):
    """Commands known by name and help; what they do is imported when one is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._table(ctx))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = self._table(ctx).get(cmd_name)
        return (
            click.RichCommand(name=cmd_name, help=found[1], add_help_option=False)
            if found
            else None
        )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            name, stub, rest = super().resolve_command(ctx, args)
        except click.UsageError as error:
            told = f"{error.format_message()} {self._meant(ctx, args[0])}"
            raise click.UsageError(told, ctx) from error
        if name is None or stub is None:
            return name, stub, rest
        command = _loaded(name, self._table(ctx)[name][0])
        if isinstance(command, click.Group) and not isinstance(command, OpenGroup):
            for each, load in _added(name).items():
                command.add_command(_loaded(f"{name} {each}", load), each)
        return name, command, rest

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if not any(error.option_name in each.opts for each in self.params):
                raise
            told = f"{error.message} It is a global one: it stands before the command's name."
            raise click.UsageError(told, error.ctx) from error

    def _meant(self, ctx: click.Context, given: str) -> str:
        """What to say of a command that is not there."""
        from difflib import get_close_matches

        if near := get_close_matches(given, self.list_commands(ctx), 1):
            return f"Did you mean '{near[0]}'?"
        return "A plugin may bring it; `llm-gateway plugins list` names those that are installed."

    def _table(self, ctx: click.Context) -> dict[str, tuple[str, str]]:
        """Name to what loads it and its help; the kernel's own names come first."""
        table: dict[str, tuple[str, str]] | None = ctx.meta.get(__name__)
        if table is None:
            added = {name: each for name, each in _of_plugins().items() if " " not in name}
            table = {**added, **_COMMANDS}
            ctx.meta[__name__] = table
        return table


class OpenGroup(click.RichGroup):
    """A group of the kernel's that plugins may add to: ``plugins new`` adds ``new``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_added(str(self.name))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        added = _added(str(self.name)).get(cmd_name) if own is None else None
        return own if added is None else _loaded(f"{self.name} {cmd_name}", added)


def _added(group: str) -> dict[str, str]:
    """What plugins add to the commands of `group`: name to what loads it."""
    start, table = f"{group} ", _of_plugins()
    return {name.removeprefix(start): table[name][0] for name in table if name.startswith(start)}


def _loaded(name: str, load: str) -> click.Command:
    try:
        module, _, attribute = load.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
    except Exception as error:
        text = f"{name} cannot be loaded from {load}: {type(error).__name__}: {error}"
        raise click.ClickException(text) from error
    return command


def _of_plugins() -> dict[str, tuple[str, str]]:
    try:
        from llm_gateway.plugins import commands

        return {name: (spec.load, spec.help) for name, spec in commands().items()}
    except Exception as error:  # help must not fail
        print(f"warning: plugins' commands are left out: {error}", file=sys.stderr)
        return {}


def _as_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    found = ctx.find_object(Globals)
    if value and found is not None:
        found.json = True


def json_option(command: F) -> F:
    """--json may stand behind the command's name as well."""
    option = click.option(
        "--json", is_flag=True, expose_value=False, callback=_as_json, help="Print JSON."
    )
    return option(command)


def config_option(command: F) -> F:
    option = click.option("-c", "--config", "path", metavar="FILE", help="The configuration file.")
    return option(command)


@click.group(cls=LazyGroup, context_settings=CONTEXT)
@click.option("-v", "--verbose", count=True, help="Say more; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option(
    "-u",
    "--url",
    envvar="LLM_GATEWAY_URL",
    default="http://localhost:8080",
    show_default=True,
    help="The gateway to ask.",
)
@click.option("-k", "--api-key", envvar="LLM_GATEWAY_API_KEY", help="The key to ask it with.")
@click.version_option(None, "-V", "--version", package_name="llm-gateway-kernel")
@click.pass_context
def cli(ctx: click.Context, verbose: int, as_json: bool, url: str, api_key: str | None) -> None:
    """A gateway between applications and the vendors of language models."""
    ctx.obj = Globals(url, api_key, as_json, verbose)


def main() -> None:
    """Run the command line; exits with 0, 1 (bad news), 2 (wrong usage) or 78 (refused)."""
    if os.environ.get(COMPLETE, "").startswith("powershell"):
        import_module("llm_gateway.cli.completions")  # teaches click this shell
    cli(prog_name=PROGRAM)
