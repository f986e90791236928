"""The headers of a provider's answer, as they came: of most answers nobody looks at any."""

from collections.abc import Iterator, Mapping


class Received(Mapping[str, str]):
    """Decodes `fields` when somebody looks first; names are in lower case, and the first value
    of a repeated one holds."""

    __slots__ = ("_decoded", "_fields")

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        self._fields = fields
        self._decoded: dict[str, str] | None = None

    def __getitem__(self, name: str) -> str:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(self._all())

    def _all(self) -> dict[str, str]:
        if self._decoded is None:
            found: dict[str, str] = {}
            self._decoded = found
            for name, value in self._fields.items():
                found.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        return self._decoded

    def mentions(self, name: bytes) -> bool:
        """Whether there may be a header of that name (in lower case), without decoding any."""
        return name in b"\n".join(self._fields).lower()
