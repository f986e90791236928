"""Vault's HTTP interface, as far as reading secrets needs it; blocking, within one deadline."""

import http.client
import json
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

from llm_gateway_api import ConfigurationError

MAX_BYTES = 2 * 1024 * 1024
MAX_REDIRECTS = 2
TRIES = 3
# Vault answers so while it is sealed, a standby, or too busy: another try may succeed.
_AGAIN = (412, 429, 472, 473, 500, 502, 503, 504)


class VaultError(Exception):
    """Vault said no, or cannot be reached; the text holds no secret. `reachable` is False where
    it did not answer for itself."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status

    @property
    def reachable(self) -> bool:
        return self.status not in (0, *_AGAIN)


class Client:
    """`clock` in seconds; every call ends before `deadline`."""

    def __init__(
        self,
        address: str,
        namespace: str | None,
        ca_file: str | None,
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._address = address.rstrip("/")
        self._namespace = namespace
        self._clock = clock
        self._deadline = clock() + seconds
        self.token: str | None = None
        self._tls: ssl.SSLContext | None = None
        if urlsplit(address).scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca_file)
            except (OSError, ssl.SSLError) as error:
                text = f"plugins.secrets_vault.ca_file: {ca_file} cannot be read: {error}"
                raise ConfigurationError(text) from error

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> dict[str, Any] | None:
        """The answer's JSON; None where there is nothing at `path`."""
        try:
            return self._call("GET", path + (f"?{urlencode(query)}" if query else ""), None)
        except VaultError as error:
            if error.status == 404:
                return None
            raise

    def post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        return self._call("POST", path, json.dumps(body).encode())

    def _call(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        url = f"{self._address}/v1/{quote(path, safe='/?=&%')}"
        failed: VaultError | None = None
        for _ in range(TRIES):
            try:
                return self._followed(method, url, body, path)
            except VaultError as error:
                if error.reachable:
                    raise
                failed = error
        assert failed is not None
        raise failed

    def _followed(self, method: str, url: str, body: bytes | None, path: str) -> dict[str, Any]:
        """A standby sends its callers to the active node."""
        for _ in range(MAX_REDIRECTS + 1):
            status, location, data = self._once(method, url, body)
            if status not in (301, 302, 307, 308):
                return _checked(status, data, path)
            target = urljoin(url, location)
            if urlsplit(target).scheme != urlsplit(url).scheme:
                raise VaultError(f"Vault redirects {path} from its scheme to another", status)
            url = target
        raise VaultError(f"Vault redirects {path} again and again", 502)

    def _once(self, method: str, url: str, body: bytes | None) -> tuple[int, str, bytes]:
        parts = urlsplit(url)
        left = self._deadline - self._clock()
        if left <= 0:
            raise VaultError("Vault did not answer in time")
        where = parts.path + (f"?{parts.query}" if parts.query else "")
        connection = self._connection(parts.hostname or "", parts.port, left)
        try:
            connection.request(method, where, body, self._headers(body))
            answer = connection.getresponse()
            data = answer.read(MAX_BYTES + 1)
        except TimeoutError as error:
            raise VaultError("Vault did not answer in time") from error
        except (OSError, http.client.HTTPException) as error:
            raise VaultError(f"Vault cannot be reached: {type(error).__name__}: {error}") from error
        finally:
            connection.close()
        if len(data) > MAX_BYTES:
            raise VaultError("Vault's answer is too long", 502)
        return answer.status, answer.headers.get("location", ""), data

    def _connection(self, host: str, port: int | None, left: float) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(host, port, timeout=left, context=self._tls)
        return http.client.HTTPConnection(host, port, timeout=left)

    def _headers(self, body: bytes | None) -> dict[str, str]:
        headers = {"X-Vault-Request": "true", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.token is not None:
            headers["X-Vault-Token"] = self.token
        if self._namespace is not None:
            headers["X-Vault-Namespace"] = self._namespace
        return headers


def _checked(status: int, data: bytes, path: str) -> dict[str, Any]:
    if status == 204:
        return {}
    try:
        found = json.loads(data or b"{}")
    except ValueError:
        found = None
    if status >= 400 or not isinstance(found, dict):
        told = found.get("errors") if isinstance(found, dict) else None
        reason = "; ".join(map(str, told))[:300] if isinstance(told, list) else ""
        raise VaultError(f"Vault answers {path} with {status} {reason}".rstrip(), status)
    return found
