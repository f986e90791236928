"""Budgets in the store. Each change raises the version that gateways look at."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from time import time
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import ZoneInfo

import msgspec
from llm_gateway_api import (
    Budget,
    MalformedBodyError,
    NotFoundError,
    Queries,
    Row,
    SQLValue,
    StateBackend,
    Store,
)

from llm_gateway_limit_budget.periods import window
from llm_gateway_limit_budget.spending import spent, usd

_OWNERS = {
    "tenant": "SELECT id FROM tenants WHERE id = :owner AND deleted_at IS NULL",
    "key": "SELECT id FROM api_keys WHERE id = :owner AND revoked_at IS NULL",
}
_OF_TENANT = (
    "((level = 'tenant' AND owner = :tenant) OR (level = 'key' AND owner IN "
    "(SELECT id FROM api_keys WHERE tenant = :tenant)))"
)
_SAME = (
    "level = :level AND owner = :owner AND period = :period AND unit = :unit "
    "AND deleted_at IS NULL "
    "AND COALESCE(model, '') = COALESCE(CAST(:model AS TEXT), '')"
)
_VALUES = {
    "id": "id",
    "level": "level",
    "owner": "owner",
    "model": "model",
    "amount_nano": "amount",
    "soft_nano": "soft",
    "period": "period",
    "zone": "zone",
    "created_at": "now",
    "updated_at": "now",
    "version": "version",
    "unit": "unit",
}
T = TypeVar("T", bound="NewBudget | NewQuota")
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class _New(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    level: Literal["tenant", "key"]
    owner: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    period: Literal["day", "week", "month", "total"]
    zone: str = "UTC"
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{self.zone!r} is no time zone; write UTC or Europe/Berlin") from None


class NewBudget(_New, frozen=True, kw_only=True):
    """`amount_usd` and `soft_usd` are decimals (a number, or a text to be exact); a budget of 0
    blocks what costs anything."""

    amount_usd: str | int | float
    soft_usd: str | int | float | None = None

    @property
    def unit(self) -> str:
        return "usd"

    def amounts(self) -> tuple[int, int | None]:
        """The whole, and from where on it warns. Raises `MalformedBodyError`."""
        soft = None if self.soft_usd is None else nano(self.soft_usd, "soft_usd")
        return _warned(nano(self.amount_usd, "amount_usd"), soft, "soft_usd")


class NewQuota(_New, frozen=True, kw_only=True):
    """A quota of 0 blocks."""

    unit: Literal["tokens", "requests"]
    amount: Count
    soft: Count | None = None

    def amounts(self) -> tuple[int, int | None]:
        """As those of a budget."""
        return _warned(self.amount, self.soft, "soft")


def _warned(amount: int, soft: int | None, name: str) -> tuple[int, int | None]:
    if soft is not None and soft > amount:
        raise MalformedBodyError(
            f"{name} is where warnings begin, in the unit of the whole; it must not be above it.",
            param=name,
        )
    return amount, soft


def read(body: bytes, kind: type[T]) -> T:
    """Raises `MalformedBodyError` naming the field."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeError) as error:
        text, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".") or None
        raise MalformedBodyError(f"{text}{f' ({field})' if field else ''}.", param=field) from error


class Repository:
    def __init__(self, store: Store, state: StateBackend | None) -> None:
        self._store = store
        self._state = state

    async def all(
        self,
        *,
        money: bool,
        level: str | None = None,
        owner: str | None = None,
        tenant: str | None = None,
    ) -> list[dict[str, Any]]:
        """Budgets, or quotas, with what is used of them in their present window; exact, from
        the ledger. Those of `tenant` are its own and its keys'."""
        where, params = ["deleted_at IS NULL"], dict[str, SQLValue]()
        where.append("unit = 'usd'" if money else "unit <> 'usd'")
        for name, value in (("level", level), ("owner", owner)):
            if value is not None:
                where.append(f"{name} = :{name}")
                params[name] = value
        if tenant is not None:
            where.append(_OF_TENANT)
            params["tenant"] = tenant
        rows = await self._store.fetch(
            f"SELECT * FROM budgets WHERE {' AND '.join(where)} ORDER BY level, owner, id", params
        )
        return [await self._shown(each) for each in rows]

    async def put(self, new: NewBudget | NewQuota, tell: Callable[[str], None]) -> dict[str, Any]:
        """Make a budget or quota, or change the one of the same owner, period, model and unit."""
        given: dict[str, SQLValue] = {
            "level": new.level,
            "owner": new.owner,
            "model": new.model,
            "period": new.period,
            "unit": new.unit,
        }
        amount, soft = new.amounts()
        async with self._changing() as (queries, version):
            if not await queries.fetch(_OWNERS[new.level], {"owner": new.owner}):
                raise NotFoundError(f"There is no {new.level} {new.owner!r}.", param="owner")
            known = await queries.fetch(f"SELECT id FROM budgets WHERE {_SAME}", given)
            changed: dict[str, SQLValue] = {
                "amount": amount,
                "soft": soft,
                "zone": new.zone,
                "now": int(time() * 1000),
                "version": version,
            }
            if known:
                rows = await queries.fetch(
                    "UPDATE budgets SET amount_nano = :amount, soft_nano = :soft, zone = :zone, "
                    "updated_at = :now, version = :version WHERE id = :id RETURNING *",
                    {**changed, "id": known[0]["id"]},
                )
            else:
                values = ", ".join(f":{each}" for each in _VALUES.values())
                rows = await queries.fetch(
                    f"INSERT INTO budgets ({', '.join(_VALUES)}) VALUES ({values}) RETURNING *",
                    {**given, **changed, "id": f"bud_{secrets.token_hex(8)}"},
                )
            tell(str(rows[0]["id"]))
        return await self._shown(rows[0])

    async def delete(self, budget_id: str, tell: Callable[[str], None]) -> None:
        async with self._changing() as (queries, version):
            done = await queries.execute(
                "UPDATE budgets SET deleted_at = :now, updated_at = :now, version = :version "
                "WHERE id = :id AND deleted_at IS NULL",
                {"id": budget_id, "now": int(time() * 1000), "version": version},
            )
            if not done:
                raise NotFoundError(f"There is no budget {budget_id!r}.", param="budget")
            tell(budget_id)

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[tuple[Queries, int]]:
        async with self._store.transaction() as queries:
            rows = await queries.fetch(
                "UPDATE identity_version SET version = version + 1 WHERE id = 1 RETURNING version"
            )
            yield queries, int(str(rows[0]["version"]))

    async def _shown(self, row: Row) -> dict[str, Any]:
        budget = _budget(row)
        now = window(budget, str(row["owner"]), time())
        used = await spent(self._store, now)
        held = max(0, await self._counted(now.key) - used)
        return {
            "id": budget.id,
            "level": budget.level,
            "owner": row["owner"],
            "model": budget.model,
            "period": budget.period,
            "zone": budget.zone,
            **_amounts(budget, used, held),
            "window_start": now.start,
            "window_end": now.end,
        }

    async def _counted(self, key: str) -> int:
        """What shared state counts, requests under way with it; 0 where it cannot be asked."""
        if self._state is None:
            return 0
        try:
            return (await self._state.used([key]))[0]
        except Exception:
            return 0


def nano(amount: str | int | float, field: str) -> int:
    """Dollars as nano-dollars, exact."""
    try:
        found = Decimal(str(amount)) * 1_000_000_000
    except ArithmeticError:
        found = Decimal(-1)
    if not found.is_finite() or found < 0 or found > 2**53 or found != found.to_integral_value():
        raise MalformedBodyError(
            f"{field} must be dollars from 0 to 9000000 with at most 9 decimals.", param=field
        )
    return int(found)


def _amounts(budget: Budget, used: int, held: int) -> dict[str, object]:
    """Of money as decimals in texts, of tokens and requests as numbers."""
    if budget.unit != "usd":
        amounts = {"amount": budget.amount, "soft": budget.soft, "used": used, "held": held}
        return {"unit": budget.unit, **amounts}
    return {
        "amount_usd": usd(budget.amount),
        "soft_usd": None if budget.soft is None else usd(budget.soft),
        "spent_usd": usd(used),
        "held_usd": usd(held),
    }


def _budget(row: Row) -> Budget:
    amount, soft, model = row["amount_nano"], row["soft_nano"], row["model"]
    period: Any = row["period"]
    unit: Any = row["unit"]
    return Budget(
        id=str(row["id"]),
        level=str(row["level"]),
        amount=amount if isinstance(amount, int) else 0,
        period=period,
        zone=str(row["zone"]),
        soft=soft if isinstance(soft, int) else None,
        model=model if isinstance(model, str) else None,
        unit=unit,
    )
