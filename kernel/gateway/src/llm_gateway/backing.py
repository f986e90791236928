"""Which store, state backend, ledger, catalogues and auditors stand behind a generation."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import time
from typing import Any

from llm_gateway_api import (
    Audit,
    AuditEvent,
    Auditor,
    ConfigurationError,
    FailedLogins,
    Ledger,
    ModelCatalog,
    ModelInfo,
    Price,
    Redact,
    Redactor,
    Target,
)

from llm_gateway.making import Maker

Armed = Callable[[str, str, str, str], None]
log = logging.getLogger("llm_gateway.backing")
_REACH = ("process", "host", "fleet")


def offers(maker: Maker, workers: int, armed: Armed) -> dict[str, Any]:
    """What plugins may need of others, made before anything that may need it."""
    series = tuple(spec for _, spec in maker.plugins.declared("migrations"))
    found: dict[str, Any] = {
        "store": store(maker, armed),
        "migrations": series,
        "routes": [],  # filled when all of them are made
    }
    maker.offers.update(found)
    for plugin, spec in maker.plugins.declared("services"):
        if spec.early:
            maker.make(plugin, "services", spec)
    found["state"] = _state(maker, workers, armed)
    found["local_state"] = _local(maker, found["state"])
    found["workers"] = workers
    found["failed_logins"] = maker.keep(("failed_logins",), (), FailedLogins)
    redactors = tuple(made for _, made in maker.all("redactors"))
    found["redact"] = maker.keep(("redact",), redactors, lambda: redact(redactors))
    maker.offers.update(found)
    auditors = tuple(made for _, made in maker.all("auditors"))
    found["audit"] = maker.keep(("audit",), auditors, lambda: audit(auditors))
    maker.offers.update(found)
    found["ledger"] = _ledger(maker, armed)
    kinds = {name: own.kind or name for name, own in maker.settings.providers.items()}
    catalogs = tuple(made for _, made in maker.all("catalogs"))
    found["prices"] = maker.keep(("prices",), (kinds, *catalogs), lambda: Pricing(kinds, catalogs))
    maker.offers.update(found)
    return found


def store(maker: Maker, armed: Armed) -> Any:
    section: Any = maker.settings.section("database")
    declared = maker.plugins.declared("stores")
    url = getattr(section, "url", None)
    scheme = str(url).partition(":")[0].partition("+")[0] if url else None
    for plugin, spec in declared:
        if spec.scheme == scheme or (scheme is None and spec.embedded):
            made = maker.make(plugin, "stores", spec)
            if made is not None:
                armed("store", spec.scheme, plugin, "503 when it is down")
            return made
    if scheme is None:
        return None
    known = ", ".join(sorted(spec.scheme for _, spec in declared)) or "no store is installed"
    raise ConfigurationError(
        f"database.url: no installed plugin stores in {scheme!r} ({known});"
        " a package llm-gateway-store-… brings one."
    )


def _state(maker: Maker, workers: int, armed: Armed) -> Any:
    declared = {
        spec.name: (plugin, spec) for plugin, spec in maker.plugins.declared("state_backends")
    }
    section: Any = maker.settings.section("state")
    if not declared or section is None:
        return None
    wanted = section.backend
    if wanted == "auto":
        needed = "fleet" if section.redis_url else "host" if workers > 1 else "process"
        reachable = _REACH if section.redis_url else _REACH[:2]
        enough = reachable[_REACH.index(needed) :]
        fit = [name for name, (_, spec) in declared.items() if spec.reach in enough]
        if not fit and needed == "process":
            return None
        if not fit:
            why = "state.redis_url is set" if needed == "fleet" else f"there are {workers} workers"
            raise ConfigurationError(
                f"state.backend: {why}, but no installed plugin shares state over the {needed}; "
                "install one (a package llm-gateway-state-…), or name a backend "
                f"({', '.join(sorted(declared))})."
            )
        wanted = min(fit, key=lambda name: (_REACH.index(declared[name][1].reach), name))
    if wanted not in declared:
        raise ConfigurationError(
            f"state.backend: no installed plugin brings {wanted!r} ({', '.join(sorted(declared))});"
            f" pip install llm-gateway-state-{wanted}, or name one of these."
        )
    plugin, spec = declared[wanted]
    armed("state", wanted, plugin, reach_of(spec.reach, workers))
    if workers > 1 and spec.reach == "process":
        log.warning(
            "state.backend is %r: each of the %d workers has limits and breakers of its own;"
            " auto shares them",
            wanted,
            workers,
        )
    return maker.make(plugin, "state_backends", spec)


def reach_of(reach: str, workers: int = 1) -> str:
    """What a state backend's counts hold for."""
    if reach == "process" and workers > 1:
        return f"per process: {workers} times each limit"
    return "per process" if reach == "process" else f"shared by the {reach}"


def _local(maker: Maker, chosen: Any) -> Any:
    """The state of this process alone, for when the chosen one cannot be reached."""
    for plugin, spec in maker.plugins.declared("state_backends"):
        if spec.reach == "process" and chosen is not None:
            return maker.make(plugin, "state_backends", spec)
    return None


def _ledger(maker: Maker, armed: Armed) -> Ledger | None:
    """The ledgers as one; None where none is installed."""
    pairs = maker.all("ledgers")
    for spec, _ in pairs:
        armed("ledger", spec.name, "", "503 at admission when it cannot write")
    if not pairs:
        return None
    made = tuple(each for _, each in pairs)
    ledger: Ledger = made[0]
    if len(made) > 1:
        ledger = maker.keep(("ledgers",), made, lambda: Ledgers(made))
    return ledger


class Ledgers:
    """Several ledgers, all told."""

    def __init__(self, ledgers: Sequence[Ledger]) -> None:
        self.begin = _each([each.begin for each in ledgers])
        self.end = _each([each.end for each in ledgers])


def _each(told: Sequence[Callable[[Any], None]]) -> Callable[[Any], None]:
    def tell(value: Any) -> None:
        for each in told:
            each(value)

    return tell


def redact(redactors: Sequence[Redactor]) -> Redact:
    """Every redactor in turn."""

    def through(text: str) -> str:
        for each in redactors:
            text = each.redact(text)
        return text

    return through


def audit(auditors: Sequence[Auditor]) -> Audit:
    """Tells every auditor; nothing to do where there is none."""
    record: Callable[[AuditEvent], None] = _each([each.record for each in auditors])
    return record


class Pricing:
    """Meets `Prices`: the catalogues by kind of provider, which knows the model by the
    vendor's name."""

    def __init__(self, kinds: Mapping[str, str], catalogs: Sequence[ModelCatalog]) -> None:
        self._kinds = kinds
        self._catalogs = catalogs
        self._second = 0
        self._known: dict[tuple[str, str], Price | None] = {}

    def price(self, target: Target) -> Price | None:
        """Looked up once a second: prices change with the seconds, and far more seldom."""
        if not self._catalogs:
            return None
        now = time()
        if int(now) != self._second:
            self._second = int(now)
            self._known.clear()
        asked = target.provider, target.base or target.model
        try:
            return self._known[asked]
        except KeyError:
            found = self._known[asked] = self._found(*asked, now)
            return found

    def _found(self, provider: str, model: str, now: float) -> Price | None:
        kind = self._kinds.get(provider, provider)
        prices = (each.price(kind, model, now) for each in self._catalogs)
        return next((each for each in prices if each is not None), None)

    def learned(self, provider: str, info: ModelInfo) -> ModelInfo:
        """`info` with what it does not say itself; the first catalogue that has the model is
        believed."""
        kind = self._kinds.get(provider, provider)
        for each in self._catalogs:
            if (found := each.info(kind, info.base or info.id)) is not None:
                return replace(
                    info,
                    context_window=info.context_window or found.context_window,
                    max_output=info.max_output or found.max_output,
                    capabilities=info.capabilities or found.capabilities,
                    created=info.created or found.created,
                )
        return info
