"""The certificate of the main listener, read anew when its files change."""

import logging
import ssl
from pathlib import Path

from llm_gateway_api.errors import ConfigurationError

from llm_gateway.sections import Tls
from llm_gateway.watching import changes

log = logging.getLogger("llm_gateway.tls")


def context(files: Tls | None) -> ssl.SSLContext | None:
    """The listener's context.

    Raises:
        ConfigurationError: a file cannot be read, is no PEM, or the two do not belong together.
    """
    if files is None:
        return None
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    for key, path in (("cert_file", files.cert_file), ("key_file", files.key_file)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ConfigurationError(f"server.tls.{key}: {path}: {error.strerror}") from error
    try:
        made.load_cert_chain(files.cert_file, files.key_file)
    except OSError as error:
        raise ConfigurationError(
            f"server.tls: {files.cert_file} and {files.key_file} are no certificate in PEM with"
            f" its key ({getattr(error, 'reason', None) or error})"
        ) from error
    return made


async def follow(live: ssl.SSLContext | None, files: Tls | None) -> None:
    """New handshakes get the new certificate; a pair that does not fit changes nothing."""
    if live is None or files is None:
        return
    async for _ in changes(Path(files.cert_file), Path(files.key_file)):
        try:
            context(files)  # the live one would be left with half a pair
            live.load_cert_chain(files.cert_file, files.key_file)
        except (ConfigurationError, OSError) as error:
            log.error("tls.refused: the last certificate stays: %s", error)
        else:
            log.info("tls.reloaded %s", files.cert_file)
