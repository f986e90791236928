"""The templates, and how values are written for people."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from time import time

import jinja2
from markupsafe import Markup

from llm_gateway_admin_dashboard.http import ROOT, link
from llm_gateway_admin_dashboard.visits import segment

NONE = "–"  # noqa: RUF001  # the dash that a table has for nothing


def environment(assets: Mapping[str, str]) -> jinja2.Environment:
    """Everything is escaped, and a name that nobody gave is an error."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(__package__),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"asset": assets.__getitem__, "root": ROOT, "link": link}
    made.filters |= {
        "usd": usd,
        "count": count,
        "ms": milliseconds,
        "when": when,
        "moment": moment,
        "ago": ago,
        "size": size,
        "percent": percent,
        "segment": segment,
    }
    made.globals["ui"] = made.get_template("parts.html").module
    return made


def usd(value: object) -> str:
    """Dollars: cents, or as many places as a small amount needs."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return NONE
    if not amount:
        return "$0"
    if abs(amount) >= Decimal("0.995"):
        return f"${amount:,.2f}"
    if abs(amount) >= Decimal("0.0001"):
        return f"${amount:.4f}"
    return f"${amount.normalize():f}"


def count(value: object) -> str:
    """A number with its thousands apart; short from a million on."""
    if not isinstance(value, int | float):
        return NONE
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:,.2f} M"
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}"


def milliseconds(value: object) -> str:
    if not isinstance(value, int | float):
        return NONE
    if value >= 10_000:
        return f"{value / 1000:,.1f} s"
    return f"{value:,.0f} ms" if value >= 10 else f"{value:.1f} ms"


def when(value: object) -> str:
    """Unix seconds, or ISO 8601, as a date and time of UTC."""
    if isinstance(value, int | float):
        return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, str) and value:
        return value.replace("T", " ").removesuffix("+00:00").removesuffix("Z")
    return NONE


def moment(value: object) -> Markup:
    """The same for a narrow column: it may break between date and time, and nowhere else."""
    span = Markup('<span class="nowrap">{}</span>')
    return Markup(" ").join(span.format(each) for each in when(value).split(" "))


def ago(value: object) -> str:
    """How long Unix seconds lie back."""
    if not isinstance(value, int | float):
        return NONE
    seconds = max(0, int(time() - value))
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} s ago"


def size(value: object) -> str:
    """Bytes."""
    if not isinstance(value, int | float):
        return NONE
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= length:
            return f"{value / length:,.1f} {unit}"
    return f"{int(value)} B"


def percent(value: object) -> str:
    if not isinstance(value, int | float):
        return NONE
    return f"{value * 100:.1f} %" if 0 < value < 0.1 else f"{value * 100:.0f} %"
