"""The body of ``POST /admin/v1/explain``."""

from dataclasses import replace

import llm_gateway_api as gw
import msgspec


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """`body` is a request as a client would send it to `path`; the others say who the client
    is and what it may use, in place of what holds for whoever asks."""

    body: msgspec.Raw
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = {}
    tenant: str | None = None
    key: str | None = None
    models: list[str] | None = None
    providers: list[str] | None = None
    regions: list[str] | None = None
    renamed: dict[str, str] = {}

    @staticmethod
    def of(body: bytes) -> "Question":
        """Raises `MalformedBodyError` naming the field."""
        try:
            return msgspec.json.decode(body, type=Question)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise gw.MalformedBodyError(
                f"Send an object with the member body, the request to explain: {error}.",
                param="body",
            ) from error

    def lower_headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def principal(self, own: gw.Principal) -> gw.Principal:
        """Who is meant: whoever asks, unless the question names another tenant or key.

        Raises:
            PermissionDeniedError: a tenant's key asks as somebody else, or as one that may more.
        """
        if own.tenant is not None:
            self._refuse_other(own)
            return own
        if self.tenant is not None or self.key is not None:
            own = gw.Principal(self.key, self.tenant)
        return replace(
            own,
            models=_set(self.models, own.models),
            providers=_set(self.providers, own.providers),
            regions=_set(self.regions, own.regions),
            renamed=self.renamed or own.renamed,
        )

    def _refuse_other(self, own: gw.Principal) -> None:
        allowed = {"tenant": own.tenant, "key": own.key_id}
        for name in ("tenant", "key", "models", "providers", "regions", "renamed"):
            given = getattr(self, name)
            if given not in (None, {}, allowed.get(name)):
                raise gw.PermissionDeniedError(
                    "A tenant's key is told what holds for itself; leave this out, or ask with "
                    "a key that belongs to no tenant.",
                    param=name,
                )


def _set(names: list[str] | None, own: frozenset[str] | None) -> frozenset[str] | None:
    return own if names is None else frozenset(names)
