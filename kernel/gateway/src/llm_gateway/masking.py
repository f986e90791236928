"""Hides secrets in what is shown: by the names of their keys, and by their values."""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

MASK = "**********"
LEAST_SECRET = 6  # a shorter value would hide half of every text
_LEAST_KNOWN = 16  # a key of a server that needs none may be a word of every line
_SECRET_KEY = re.compile(r"(key|keys|secret|token|password)$")
_USER_INFO = re.compile(r"://[^/@\s]+@")
_PASSWORD = re.compile(r"://[^/@:\s]*:([^/@\s]+)@")


def scrubbed(text: str, secrets: Iterable[SecretStr]) -> str:
    """`text` without any of `secrets`."""
    for each in secrets:
        value = each.get_secret_value()
        if len(value) >= LEAST_SECRET:
            text = text.replace(value, MASK)
    return text


def secrets_in(value: object) -> Iterator[SecretStr]:
    """The secrets of settings, and the passwords in their addresses."""
    if isinstance(value, BaseModel):
        value = [getattr(value, name) for name in type(value).model_fields]
    if isinstance(value, SecretStr | str):
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if isinstance(value, SecretStr) and len(text) >= _LEAST_KNOWN:
            yield value
        yield from map(SecretStr, _PASSWORD.findall(text))
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from secrets_in(each)
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from secrets_in(each)


class Scrubbing(logging.Formatter):
    """Another formatter's lines, tracebacks too, without `secrets`."""

    def __init__(self, inner: logging.Formatter, secrets: frozenset[SecretStr]) -> None:
        super().__init__()
        self.inner = inner
        self.secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(self.inner.format(record), self.secrets)


def hide_in_logs(secrets: Iterable[SecretStr]) -> None:
    """From now on no line of the process shows one of `secrets`, nor of those named before."""
    new = frozenset(secrets)
    for handler in logging.getLogger().handlers if new else ():
        if isinstance(handler.formatter, Scrubbing):
            handler.formatter.secrets |= new
        else:
            handler.setFormatter(Scrubbing(handler.formatter or logging.Formatter(), new))


def masked(key: str, value: Any, secrets: Iterable[SecretStr]) -> Any:
    if isinstance(value, dict):
        # May carry credentials under any name; a section of that name is none of texts alone.
        whole = key == "headers" and all(isinstance(each, str) for each in value.values())
        return {
            k: MASK if whole and isinstance(v, str) else masked(k, v, secrets)
            for k, v in value.items()
        }
    if value and isinstance(value, str | list) and _SECRET_KEY.search(key):
        return [MASK for _ in value] if isinstance(value, list) else MASK
    if isinstance(value, list):
        return [masked("", each, secrets) for each in value]
    if not isinstance(value, str):
        return value
    return _USER_INFO.sub(f"://{MASK}@", scrubbed(value, secrets))
