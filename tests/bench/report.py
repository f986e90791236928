"""The result as Markdown, and compared with the stored baseline by its ratios only.

Machines differ, and so do hours of one machine: a ratio to the bare relay of the same,
interleaved run is what can be compared.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

Rows = Mapping[str, Mapping[str, float]]


def markdown(result: Mapping[str, Any]) -> str:
    rows: Rows = result["rows"]
    cpu = {name: row for name, row in rows.items() if name.startswith("CPU: ")}
    latency = {name: row for name, row in rows.items() if name.startswith("latency: ")}
    workers = {name: row for name, row in rows.items() if name.startswith("workers: ")}
    others = {name: row for name, row in rows.items() if ": " not in name}
    tables = [
        _cpu(cpu) if cpu else (),
        _latency(latency) if latency else (),
        _workers(workers) if workers else (),
    ]
    return "\n".join(chain(*tables, _others(others) if others else ()))


def _cpu(rows: Rows) -> Iterator[str]:
    yield "| CPU time a request, closed loop | yardstick, ms | gateway, ms | ratio | target |"
    yield "| --- | --: | --: | --: | --: |"
    for name, row in rows.items():
        yield (
            f"| {name[5:]} ({row['per_core']:,.0f} a core and second) | {row['relay_cpu_ms']:.3f} "
            f"| {row['cpu_ms']:.3f} | {row['ratio']:.2f} | {row.get('target', '')} |"
        )
    yield ""


def _latency(rows: Rows) -> Iterator[str]:
    yield "| latency added to a direct call, open loop | bare relay, ms | gateway, ms |"
    yield "| --- | --: | --: |"
    for name, row in rows.items():
        yield f"| {name[9:]} | {row['relay_added_ms']:.2f} | {row['added_ms']:.2f} |"
    yield ""


def _workers(rows: Rows) -> Iterator[str]:
    yield (
        "| closed loop, load and provider on the same cores | workers | requests/s "
        "| gateway, CPU ms a request | load and provider, CPU ms | cores busy | failed |"
    )
    yield "| --- | --: | --: | --: | --: | --: | --: |"
    for name, row in rows.items():
        for many in (1, 2):
            yield (
                f"| {name[9:]} | {many} | {row[f'per_second_{many}']:,.0f} "
                f"| {row[f'cpu_ms_{many}']:.3f} | {row[f'driving_ms_{many}']:.3f} "
                f"| {row[f'cores_{many}']:.2f} | {row[f'failed_{many}']:g} |"
            )
        yield (
            f"| … the second worker adds | | {row['gain'] - 1:+.0%} here; "
            f"{row['gain_without_load'] - 1:+.0%} with the load elsewhere | | | | |"
        )
    yield ""


def _others(rows: Rows) -> Iterator[str]:
    yield "| besides | figures |"
    yield "| --- | --- |"
    for name, row in rows.items():
        figures = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in row.items())
        yield f"| {name} | {figures} |"


def worse(now: Rows, before: Rows, share: float) -> list[str]:
    """The rows whose ratio grew by more than `share`, each as a sentence."""
    found = []
    for name, row in before.items():
        for key, old in row.items():
            if not key.startswith("ratio") or key not in now.get(name, {}):
                continue
            new = now[name][key]
            if new > old * (1 + share):
                found.append(f"{name}: {key} was {old:.3f} and is {new:.3f}")
    return found
