"""What a plugin keeps about tenants: shown to them, and taken away for good."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

import msgspec

if TYPE_CHECKING:
    from llm_gateway_api.specs import TenantDataSpec


class ExportPage(msgspec.Struct, frozen=True):
    """Some of what is kept, as values of JSON; `next` is where the next page begins, None
    after the last. A secret, or a hash of one, is in no row."""

    rows: Sequence[Mapping[str, object]]
    next: str | None = None


class TenantData(Protocol):
    """One kind of data about tenants. Raising: the export fails with 503; an erasure goes on
    with the other kinds, is told as not finished, and this one is tried again.
    """

    async def count(self, tenant: str) -> int:
        """How many records about `tenant` there are now, as far as this worker can tell."""

    async def export(self, tenant: str, after: str, limit: int) -> ExportPage:
        """At most about `limit` records; `after` is empty, or the `next` of the page before."""

    async def erase(self, tenant: str) -> int:
        """Take away, here and in all other workers of this host, what leads to `tenant`;
        return how many records that were. A second time there is nothing left to do.

        Every host of a fleet calls it, some time apart and repeatedly, so that what arrives
        late is found too; work that is great goes in pieces, each a transaction.
        """


# Offered to services and endpoints as ``tenant_data``: every kind that is kept, those that
# are erased first at the front.
TenantKinds: TypeAlias = "Sequence[tuple[TenantDataSpec, TenantData]]"
