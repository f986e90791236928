"""``llm-gateway completions``, and the shell that click does not know by itself."""

import os
from typing import Any

import rich_click as click
from click.shell_completion import (
    CompletionItem,
    ShellComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from llm_gateway.cli import COMPLETE, CONTEXT, PROGRAM, cli

_SCRIPT = """\
Register-ArgumentCompleter -Native -CommandName %(prog_name)s -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $env:%(complete_var)s = "powershell_complete"
    $env:COMP_WORDS = $commandAst.ToString()
    $env:COMP_CWORD = $wordToComplete
    %(prog_name)s | ForEach-Object {
        $value, $help = $_ -split "`t", 2
        if (-not $help) { $help = $value }
        [System.Management.Automation.CompletionResult]::new(
            $value, $value, "ParameterValue", $help)
    }
    $env:%(complete_var)s = $null
}
"""


@add_completion_class
class PowerShellComplete(ShellComplete):
    """Completion for PowerShell: one candidate a line, its help behind a tab."""

    name = "powershell"
    source_template = _SCRIPT

    def get_completion_args(self) -> tuple[list[str], str]:
        incomplete = os.environ.get("COMP_CWORD", "")
        words = split_arg_string(os.environ.get("COMP_WORDS", ""))[1:]
        return (words[:-1] if incomplete and words else words), incomplete

    def format_completion(self, item: CompletionItem) -> str:
        return f"{item.value}\t{item.help or ''}"


@click.command(context_settings=CONTEXT)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish", "powershell"]))
def completions(shell: str) -> None:
    """Print what SHELL evaluates to complete this command."""
    found: Any = get_completion_class(shell)
    # Not source(): it runs the shell to learn its version, and may complain.
    complete = found(cli, {}, PROGRAM, COMPLETE)
    click.echo(complete.source_template % complete.source_vars())
