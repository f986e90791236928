"""Decodes the parts of a message or of a tool's output."""

from collections.abc import Callable
from typing import Any

from llm_gateway_api.reading import data_url, mapping, optional_text, rest, text, within, wrong
from llm_gateway_api.requests import (
    AudioPart,
    FilePart,
    ImagePart,
    Part,
    RefusalPart,
    TextPart,
    UnknownPart,
)

from llm_gateway_frontend_responses.wire import DIALECT

# What an answer's text carries beside it and no model reads again.
_TOLD = ("type", "text", "annotations", "logprobs")
_PDF = "application/pdf"


def decode_part(value: object, path: str) -> Part:
    given = mapping(value, path)
    kind = given.get("type")
    if not isinstance(kind, str):
        raise wrong(f"{path}.type", "a string")
    reader = _PARTS.get(kind)
    return reader(given, path) if reader else UnknownPart(DIALECT, given)


def _text(given: dict[str, Any], path: str) -> Part:
    return TextPart(text(given.get("text"), f"{path}.text"), rest(given, *_TOLD))


def _refusal(given: dict[str, Any], path: str) -> Part:
    said = text(given.get("refusal"), f"{path}.refusal")
    return RefusalPart(said, rest(given, "type", "refusal"))


def _image(given: dict[str, Any], path: str) -> Part:
    url = optional_text(given, "image_url", path)
    if url is None:
        text(given.get("file_id"), f"{path}.image_url")
        return UnknownPart(DIALECT, given)  # an upload, known to its own vendor alone
    detail = optional_text(given, "detail", path)
    extra = {
        name: each
        for name, each in rest(given, "type", "image_url", "detail").items()
        if each is not None
    }
    if inline := data_url(url):
        return ImagePart(None, inline[0], inline[1], detail, extra)
    if not url.startswith(("http://", "https://")):
        raise wrong(f"{path}.image_url", "an http(s) URL or a base64 data URL")
    return ImagePart(url, None, None, detail, extra)


def _file(given: dict[str, Any], path: str) -> Part:
    names = ("file_id", "file_url", "file_data")
    id_, url, data = (optional_text(given, each, path) or None for each in names)
    if sum(each is not None for each in (id_, url, data)) != 1:
        raise wrong(path, "an object with one of 'file_id', 'file_url' and 'file_data'")
    filename = optional_text(given, "filename", path)
    media_type = None
    if data is not None:
        inline = data_url(data)
        media_type, data = inline or (_PDF, data)
    return FilePart(filename, media_type, data, url, id_, rest(given, "type", "filename", *names))


def _audio(given: dict[str, Any], path: str) -> Part:
    where = f"{path}.input_audio"
    audio = mapping(given.get("input_audio"), where)
    data = text(audio.get("data"), f"{where}.data")
    extra = rest(given, "type", "input_audio") | within("input_audio", audio, "data", "format")
    return AudioPart(data, text(audio.get("format"), f"{where}.format"), extra=extra)


_PARTS: dict[str, Callable[[dict[str, Any], str], Part]] = {
    "input_text": _text,
    "output_text": _text,
    "text": _text,
    "refusal": _refusal,
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}
