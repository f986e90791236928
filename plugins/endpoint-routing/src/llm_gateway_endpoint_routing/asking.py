"""The body of ``POST /admin/v1/explain``."""

import llm_gateway_api as gw
import msgspec


class Question(msgspec.Struct, forbid_unknown_fields=True):
    """`body` is a request as a client would send it to `path`; the others say who the client
    is and what it may use. None of `models`, `providers`, `regions` is all."""

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

    def principal(self, own: str | None) -> gw.Principal:
        """The caller that is meant; a tenant's key (`own`) asks about that tenant alone.

        Raises:
            PermissionDeniedError: it asks about another one.
        """
        if own is not None and self.tenant not in (None, own):
            raise gw.PermissionDeniedError("A tenant's key may ask about its own tenant only.")
        return gw.Principal(
            self.key,
            self.tenant if own is None else own,
            models=_set(self.models),
            providers=_set(self.providers),
            regions=_set(self.regions),
            renamed=self.renamed,
        )


def _set(names: list[str] | None) -> frozenset[str] | None:
    return frozenset(names) if names is not None else None
