"""The HTTP endpoints that hand out AWS credentials: container, instance metadata, STS.

Plain functions that block, for a thread. No proxy, no redirect, bounded in time and size.
"""

import http.client
import ipaddress
import json
import ssl
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import llm_gateway_api as gw

from llm_gateway_provider_bedrock.signing import Credentials, Signer

TIMEOUT_SECONDS = 5.0
METADATA_SECONDS = 1.0
MAX_BYTES = 256 * 1024
METADATA = "http://169.254.169.254"
CONTAINER = "http://169.254.170.2"
CONTAINER_HOSTS = frozenset({"169.254.170.2", "169.254.170.23", "fd00:ec2::23", "localhost"})
TOKEN_TTL = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "x-aws-ec2-metadata-token"
ROLES = "/latest/meta-data/iam/security-credentials/"


def call(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes = b"",
    timeout: float = TIMEOUT_SECONDS,
) -> tuple[int, bytes]:
    """Status and body. Raises `OSError` where nobody answers."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, target, body or None, dict(headers))
        response = connection.getresponse()
        return response.status, response.read(MAX_BYTES)
    except http.client.HTTPException as error:
        raise OSError("the endpoint speaks no HTTP") from error
    finally:
        connection.close()


def get_json(url: str, headers: Mapping[str, str], timeout: float = TIMEOUT_SECONDS) -> Any:
    status, body = call("GET", url, headers, timeout=timeout)
    if status != 200:
        raise OSError(f"the endpoint answers {status}")
    return json.loads(body)


def container_url(environ: Mapping[str, str]) -> str | None:
    """The address of the container's endpoint; plain HTTP only to the hosts that AWS names."""
    if relative := environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"):
        return f"{CONTAINER}{relative}"
    full = environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if not full:
        return None
    parts = urlsplit(full)
    if parts.scheme != "https" and not _trusted(parts.hostname or ""):
        raise ValueError("AWS_CONTAINER_CREDENTIALS_FULL_URI is neither https nor local")
    return full


def _trusted(host: str) -> bool:
    if host in CONTAINER_HOSTS:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def instance_role(environ: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The credentials of the instance's role (IMDSv2); None where this is no instance."""
    base = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", METADATA).rstrip("/")
    try:
        status, token = call(
            "PUT", f"{base}/latest/api/token", {TOKEN_TTL: "21600"}, timeout=METADATA_SECONDS
        )
    except OSError:
        return None
    if status != 200:
        return None
    headers = {TOKEN: token.decode("ascii")}
    status, names = call("GET", base + ROLES, headers, timeout=METADATA_SECONDS)
    if status == 404 or not names.strip():
        return None
    if status != 200:
        raise OSError(f"the endpoint answers {status}")
    role = names.decode("ascii").split()[0]
    found: Mapping[str, Any] = get_json(base + ROLES + role, headers, METADATA_SECONDS)
    if found.get("Code", "Success") != "Success":
        raise OSError("the instance's role has no credentials")
    return found


def assume_with_token(
    environ: Mapping[str, str], region: str, role: str, session: str | None, token: str
) -> Mapping[str, Any]:
    form = _form("AssumeRoleWithWebIdentity", role, session, WebIdentityToken=token)
    return _sts(sts_request(environ, region, form))


def assume_role(
    environ: Mapping[str, str],
    region: str,
    role: str,
    session: str | None,
    base: Credentials,
    extra: Mapping[str, str],
) -> Mapping[str, Any]:
    form = _form("AssumeRole", role, session, **extra)
    return _sts(Signer(region, "sts").sign(sts_request(environ, region, form), base))


def _form(action: str, role: str, session: str | None, **more: str) -> bytes:
    name = session or f"llm-gateway-{int(time.time())}"
    fields = {"Action": action, "Version": "2011-06-15", "RoleArn": role}
    return urlencode({**fields, "RoleSessionName": name, **more}).encode()


def sts_request(environ: Mapping[str, str], region: str, form: bytes) -> gw.UpstreamRequest:
    url = environ.get("AWS_ENDPOINT_URL_STS") or f"https://sts.{region}.amazonaws.com"
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return gw.UpstreamRequest("POST", f"{url.rstrip('/')}/", headers, form, _unread)


def _sts(request: gw.UpstreamRequest) -> Mapping[str, Any]:
    status, body = call(request.method, request.url, request.headers, request.body)
    if status != 200:
        raise OSError(f"STS answers {status}")
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise ValueError("STS answers no XML") from error
    found = root.find(".//{*}Credentials")
    if found is None:
        raise ValueError("STS gave no credentials")
    return {each.tag.rpartition("}")[2]: each.text for each in found}


def _unread() -> gw.Decoder:
    raise AssertionError("this answer is not read by a decoder")
