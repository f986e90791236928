"""The text exposition format 0.0.4, written from plain slots. Knows no metric by name.

Source: prometheus.io/docs/instrumenting/exposition_formats. Reading happens in two steps:
`snapshot` on the event loop, which is quick, and `written`, which may run in a thread.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import llm_gateway_api as gw

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Read:
    """A family with its children as they were listed at one moment."""

    family: gw.Family
    children: tuple[tuple[tuple[str, ...], gw.Value | gw.Histogram], ...]


def snapshot(families: Iterable[gw.Family]) -> list[Read]:
    return [Read(family, tuple(family.children.items())) for family in families]


def written(reads: Iterable[Read]) -> bytes:
    """Return the page; a metric that nothing has counted yet has its head only."""
    lines: list[str] = []
    for read in reads:
        family = read.family
        lines.append(f"# HELP {family.name} {_help(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for values, child in read.children:
            labels = _labels(family.labels, values)
            if isinstance(child, gw.Histogram):
                lines.extend(_histogram(family.name, labels, child))
            else:
                lines.append(f"{family.name}{_braces(labels)} {number(child.value)}")
    lines.append("")
    return "\n".join(lines).encode()


def number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)


def _histogram(name: str, labels: str, histogram: gw.Histogram) -> Iterator[str]:
    """Buckets add up, as the format has it. `_count` is theirs, so that the two agree
    although counting goes on meanwhile."""
    counts = list(histogram.counts)
    total = 0
    comma = "," if labels else ""
    for bound, count in zip((*histogram.bounds, math.inf), counts, strict=True):
        total += count
        yield f'{name}_bucket{{{labels}{comma}le="{number(bound)}"}} {total}'
    yield f"{name}_sum{_braces(labels)} {number(histogram.sum)}"
    yield f"{name}_count{_braces(labels)} {total}"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = zip(names, values, strict=True)
    return ",".join(f'{name}="{_label(value)}"' for name, value in pairs)


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _label(value: str) -> str:
    value = value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    return value if value.isascii() else value.encode(errors="replace").decode()


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
