"""The static files of the wheel, each under an address that its content decides."""

import hashlib
from collections.abc import Mapping
from importlib.resources import files

import llm_gateway_api as gw

from llm_gateway_admin_dashboard.http import GUARDED, ROOT

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
FOREVER = "public, max-age=31536000, immutable"


class Assets:
    """Read once; an address with another hash than the content's is not found."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}
        self.paths: dict[str, str] = {}
        for each in files(__package__).joinpath("static").iterdir():
            ending = f".{each.name.rpartition('.')[2]}"
            if ending in TYPES:
                data = each.read_bytes()
                name = f"{hashlib.sha256(data).hexdigest()[:16]}/{each.name}"
                self._files[name] = data, TYPES[ending]
                self.paths[each.name] = f"{ROOT}/static/{name}"

    def answer(self, name: str) -> gw.EndpointResponse:
        found = self._files.get(name)
        if found is None:
            raise gw.NotFoundError("There is no such file.")
        headers: Mapping[str, str] = {**GUARDED, "cache-control": FOREVER}
        return gw.EndpointResponse(200, found[0], found[1], headers)
