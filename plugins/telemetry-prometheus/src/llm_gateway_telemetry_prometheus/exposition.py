"""The text exposition format 0.0.4, written from plain slots. Knows no metric by name.

Source: prometheus.io/docs/instrumenting/exposition_formats. Each piece is written in one
go, so that what one child says agrees with itself.
"""

import math
from collections.abc import Iterable, Iterator

import llm_gateway_api as gw

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def pieces(families: Iterable[gw.Family]) -> Iterator[str]:
    """Yield the page, a head or a child at a time; what nobody counted yet has its head only.

    Children are listed when their family's turn comes, so counting may go on between pieces.
    """
    for family in families:
        yield f"# HELP {family.name} {_help(family.help)}\n# TYPE {family.name} {family.kind}\n"
        for values, child in tuple(family.children.items()):
            labels = _labels(family.labels, values)
            if isinstance(child, gw.Histogram):
                yield _histogram(family.name, labels, child)
            else:
                yield f"{family.name}{_braces(labels)} {number(child.value)}\n"


def number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)


def _histogram(name: str, labels: str, histogram: gw.Histogram) -> str:
    """Buckets add up, as the format has it; `_count` is theirs."""
    lines: list[str] = []
    total = 0
    comma = "," if labels else ""
    for bound, count in zip((*histogram.bounds, math.inf), histogram.counts, strict=True):
        total += count
        lines.append(f'{name}_bucket{{{labels}{comma}le="{number(bound)}"}} {total}')
    lines.append(f"{name}_sum{_braces(labels)} {number(histogram.sum)}")
    lines.append(f"{name}_count{_braces(labels)} {total}\n")
    return "\n".join(lines)


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
