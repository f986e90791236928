"""The commands ``health``, ``models`` and ``chat``.

``ctx.obj`` comes from ``llm-gateway`` and has `url`, `api_key`, `json` and `verbose`. The
exit code is 1 where the answer is bad news.
"""

import os
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from llm_gateway_sdk.client import Client
from llm_gateway_sdk.errors import (
    ConnectionFailedError,
    GatewayError,
    StreamInterruptedError,
    TimedOutError,
)
from llm_gateway_sdk.local import local_key
from llm_gateway_sdk.retry import NO_RETRY
from llm_gateway_sdk.signing import RequestSigning
from llm_gateway_sdk.values import ChatChunk, ChatRequest, ChatResponse, Health, Message, Model


@click.command()
@click.option("--detailed", is_flag=True, help="The state of each part.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10,
    show_default=True,
    metavar="SECS",
    help="How long to wait for the answer.",
)
@click.pass_context
def health(ctx: click.Context, detailed: bool, timeout: float) -> None:
    """Is the gateway well? The exit code is 1 if it is not."""
    with _asking(ctx, timeout) as client:
        found = client.health(detailed=detailed)
    if ctx.obj.json:
        _print_json(found.details)
    else:
        _print_health(found, detailed)
    if not found.ok:
        ctx.exit(1)


@click.command()
@click.option("-p", "--provider", help="Only the models of this provider.")
@click.option("--capabilities", is_flag=True, help="What each can do, takes and costs.")
@click.pass_context
def models(ctx: click.Context, provider: str | None, capabilities: bool) -> None:
    """The models that your key may use."""
    with _asking(ctx, 30) as client:
        found = client.models(parameters=capabilities)
    if provider is not None:
        found = tuple(each for each in found if provider in (each.provider, each.owned_by))
    if ctx.obj.json:
        _print_json(found)
    elif found:
        _print_models(found, capabilities)
    else:
        click.echo(f"No model{f' of {provider}' if provider else ''} is available to this key.")
    if not found:
        ctx.exit(1)


@click.command()
@click.argument("message")
@click.option("-m", "--model", default="gpt-4o", show_default=True, help="The model to ask.")
@click.option("-s", "--system", help="Instructions that come before the message.")
@click.option("--stream", is_flag=True, help="Show the answer while it comes.")
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=0.7,
    show_default=True,
    help="0 is the most predictable.",
)
@click.option("--max-tokens", type=click.IntRange(min=1), help="The longest answer.")
@click.pass_context
def chat(
    ctx: click.Context,
    message: str,
    model: str,
    system: str | None,
    stream: bool,
    temperature: float,
    max_tokens: int | None,
) -> None:
    """Ask a model MESSAGE and print its answer."""
    turns = [Message.system(system)] if system else []
    turns.append(Message.user(message))
    request = ChatRequest(model, turns, temperature, max_tokens)
    with _asking(ctx, 300) as client:
        if stream:
            _print_stream(ctx, client.chat_stream(request))
        else:
            _print_answer(ctx, client.chat(request))


@contextmanager
def _asking(ctx: click.Context, timeout: float) -> Iterator[Client]:
    """A client whose errors are told in words, with exit code 1."""
    try:
        url, key = ctx.obj.url, ctx.obj.api_key or os.environ.get("LLM_GATEWAY_API_KEY")
        key = key or local_key(url)
        signing = RequestSigning.of_environment(os.environ)
        client = Client(url, key, timeout=timeout, retry=NO_RETRY, signing=signing)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    try:
        with client:
            yield client
    except GatewayError as error:
        _fail(ctx, error, _advice(error, url, key, timeout))


def _advice(error: GatewayError, url: str, key: str | None, timeout: float) -> str:
    if isinstance(error, ConnectionFailedError):
        advice = (
            f"The gateway at {url} is not reachable. Start it with 'llm-gateway start', or name"
            " another one with --url or LLM_GATEWAY_URL."
        )
        if isinstance(_root(error), ssl.SSLCertVerificationError):
            advice = (
                f"The certificate of {url} is not trusted here: name the one of its authority"
                " with SSL_CERT_FILE."
            )
        elif isinstance(_root(error), ssl.SSLError):
            advice = (
                f"There is no TLS at {url}: write http:// where the gateway has no `server.tls`,"
                " or name another port."
            )
        return f"{advice} ({_root(error)})"
    unanswered = isinstance(error, StreamInterruptedError) and error.request_id is None
    if unanswered and url.startswith("http:"):
        return (
            f"{url} ended the connection without an answer in HTTP: write https:// where the"
            f" gateway has `server.tls`, or name another port. ({_root(error)})"
        )
    if isinstance(error, TimedOutError):
        return f"The gateway at {url} did not answer within {timeout:g} seconds."
    if error.status == 401 and error.code == "invalid_signature":
        return f"{error} Give the secret with LLM_GATEWAY_SIGNING_SECRET."
    if error.status == 401 and not key:
        return "The gateway wants an API key: give it with --api-key or LLM_GATEWAY_API_KEY."
    if error.status == 401:
        return f"The gateway does not accept this API key: {error}"
    return str(error)


def _root(error: BaseException) -> BaseException:
    """What began it."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def _fail(ctx: click.Context, error: GatewayError, message: str) -> NoReturn:
    if ctx.obj.json:
        told = {"message": message, "code": error.code, "status": error.status or None}
        _print_json({"error": told | {"request_id": error.request_id}})
    else:
        click.echo(f"Error: {message}", err=True)
        if ctx.obj.verbose and error.__cause__ is not None:
            click.echo(f"  {type(error.__cause__).__name__}: {error.__cause__}", err=True)
    ctx.exit(1)


def _print_health(found: Health, detailed: bool) -> None:
    click.echo(f"The gateway is {'well' if found.ok else 'not well'} ({found.status}).")
    if not detailed:
        return
    for name, value in found.details.items():
        if isinstance(value, dict) and value:
            click.echo(f"{name}:")
            _print_table(("part", "state"), [(str(key), _state(of)) for key, of in value.items()])
        elif name != "status":
            click.echo(f"{name}: {_state(value)}")


def _state(value: object) -> str:
    if isinstance(value, dict):
        state, reason = value.get("status") or value.get("state"), value.get("reason")
        if state and reason:
            return f"{state} ({reason})"
        return str(state) if state else msgspec.json.encode(value).decode()
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _print_models(found: tuple[Model, ...], capabilities: bool) -> None:
    more = ("longest answer", "USD per million in", "out", "capabilities", "does not take")
    heads = ("model", "provider", "context", *(more if capabilities else ()))
    rows: list[tuple[str, ...]] = []
    for each in found:
        row = (each.id, each.provider or each.owned_by or "", _number(each.context_window))
        rows.append((*row, *_details(each)) if capabilities else row)
    _print_table(heads, rows)


def _details(model: Model) -> tuple[str, ...]:
    prices = (str(model.pricing.get(name) or "") for name in ("input", "output"))
    left = (name for name, outcome in model.parameters.items() if outcome != "mapped")
    return (_number(model.max_tokens), *prices, ", ".join(model.capabilities), ", ".join(left))


def _number(given: int | None) -> str:
    return "" if given is None else f"{given:,}"


def _print_table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    width = None if sys.stdout.isatty() else 200
    Console(markup=False, highlight=False, width=width).print(table)


def _print_answer(ctx: click.Context, answer: ChatResponse) -> None:
    if ctx.obj.json:
        _print_json(answer)
        return
    for choice in answer.choices:
        if choice.message.content:
            click.echo(choice.message.content)
        elif choice.message.refusal:
            click.echo(choice.message.refusal)
        _tell_cut(choice.finish_reason)
    if ctx.obj.verbose:
        usage = answer.usage
        spent = f", {usage.prompt_tokens} + {usage.completion_tokens} tokens" if usage else ""
        click.echo(f"{answer.model}{spent}, request {answer.request_id}", err=True)


def _print_stream(ctx: click.Context, chunks: Iterator[ChatChunk]) -> None:
    """With ``--json`` one chunk a line. Each piece is flushed: somebody is watching."""
    started, reason = False, None
    try:
        for chunk in chunks:
            if ctx.obj.json:
                _print_json(chunk)
                continue
            for choice in chunk.choices:
                reason = choice.finish_reason or reason
                if text := choice.delta.content or choice.delta.refusal:
                    started = True
                    click.echo(text, nl=False)
                    sys.stdout.flush()
    finally:
        if started:
            click.echo()
    _tell_cut(reason)


def _tell_cut(reason: str | None) -> None:
    if reason == "length":
        click.echo("(the answer reached its longest length and ends here)", err=True)


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.encode(value))
    sys.stdout.flush()
