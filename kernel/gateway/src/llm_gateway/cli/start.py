"""``llm-gateway start``."""

from pathlib import Path

import rich_click as click

from llm_gateway.cli import CONTEXT, config_option


@click.command(context_settings=CONTEXT)
@config_option
@click.option("-p", "--port", type=click.IntRange(0, 65535), help="Port of the API.  [8080]")
@click.option("-H", "--host", help="Address to listen on.  [0.0.0.0]")
@click.option("--workers", type=click.IntRange(1, 16), help="Number of processes.  [1]")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Port of the metrics.  [9090]")
@click.pass_context
def start(
    ctx: click.Context,
    path: str | None,
    port: int | None,
    host: str | None,
    workers: int | None,
    metrics_port: int | None,
) -> None:
    """Serve requests until a signal; exit code 78 where the configuration forbids it."""
    from llm_gateway.app import run

    flags: dict[str, object] = {
        "server.port": port,
        "server.host": host,
        "server.metrics_port": metrics_port,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    ctx.exit(run(Path(path) if path else None, given, workers or 1))
