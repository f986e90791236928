"""Where AWS credentials come from, in the order of the AWS SDKs: plain functions that block.

Environment, web identity, shared files, container endpoint, instance metadata. A profile
that the settings name leaves the environment out.
"""

import configparser
import json
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from llm_gateway_provider_bedrock import endpoints
from llm_gateway_provider_bedrock.signing import Credentials

PROCESS_SECONDS = 60
MAX_ROLES = 5


class CredentialsError(Exception):
    """None were found, or a source that was named is broken; the text holds no secret."""


class Place(msgspec.Struct, frozen=True):
    """What the sources look at: the environment, a region for STS, the profile asked for."""

    environ: Mapping[str, str]
    region: str
    profile: str | None = None


def resolve(place: Place) -> Credentials:
    """The credentials of the first source that has any.

    Raises:
        CredentialsError: a source that is configured failed, or there is none.
    """
    chain = CHAIN[2:3] if place.profile is not None else CHAIN
    for source in chain:
        try:
            found = source(place)
        except CredentialsError:
            raise
        except (OSError, ValueError, KeyError, subprocess.SubprocessError) as error:
            name = source.__name__.replace("_", " ")
            raise CredentialsError(
                f"AWS credentials from {name} could not be read ({type(error).__name__})."
            ) from error
        if found is not None:
            return found
    if place.profile is not None:
        raise CredentialsError(f"The AWS profile {place.profile!r} has no credentials.")
    raise CredentialsError(
        "No AWS credentials were found: set access_key_id and secret_access_key, api_key or "
        "profile of the provider, or AWS's own variables, files or roles."
    )


def environment(place: Place) -> Credentials | None:
    env = place.environ
    key, secret = env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        return None
    return Credentials(key, secret, env.get("AWS_SESSION_TOKEN") or None)


def web_identity(place: Place) -> Credentials | None:
    env = place.environ
    path, role = env.get("AWS_WEB_IDENTITY_TOKEN_FILE"), env.get("AWS_ROLE_ARN")
    if not path or not role or place.profile is not None:
        return None
    return _web_identity(place, path, role, env.get("AWS_ROLE_SESSION_NAME"))


def shared_files(place: Place) -> Credentials | None:
    profiles = read_profiles(place.environ)
    name = place.profile or place.environ.get("AWS_PROFILE") or "default"
    if name not in profiles:
        if name == "default" and place.profile is None:
            return None
        raise CredentialsError(f"There is no AWS profile {name!r} in the shared files.")
    return _profile(place, profiles, name, 0)


def container(place: Place) -> Credentials | None:
    env = place.environ
    url = endpoints.container_url(env)
    if url is None:
        return None
    token = env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    if path := env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
        token = Path(path).read_text(encoding="utf-8").strip()
    return described(endpoints.get_json(url, {"authorization": token} if token else {}))


def instance_metadata(place: Place) -> Credentials | None:
    if place.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    found = endpoints.instance_role(place.environ)
    return None if found is None else described(found)


CHAIN: tuple[Callable[[Place], Credentials | None], ...] = (
    environment,
    web_identity,
    shared_files,
    container,
    instance_metadata,
)


def described(found: Mapping[str, Any]) -> Credentials:
    """Credentials as JSON describes them, in the spellings of the several sources."""
    expires = found.get("Expiration")
    token = found.get("Token") or found.get("SessionToken")
    if not found.get("AccessKeyId") or not found.get("SecretAccessKey"):
        raise KeyError("AccessKeyId")
    return Credentials(
        str(found["AccessKeyId"]),
        str(found["SecretAccessKey"]),
        str(token) if token else None,
        datetime.fromisoformat(str(expires).replace("Z", "+00:00")).timestamp()
        if expires
        else None,
    )


def read_profiles(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """All profiles; what ``credentials`` says of one wins over ``config``."""
    home = Path(environ.get("HOME") or Path.home()) / ".aws"
    config = Path(environ.get("AWS_CONFIG_FILE") or home / "config").expanduser()
    secrets = Path(environ.get("AWS_SHARED_CREDENTIALS_FILE") or home / "credentials").expanduser()
    found: dict[str, dict[str, str]] = {}
    for path in (config, secrets):
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            raise CredentialsError(f"{path} is no AWS configuration file.") from error
        for section in parser.sections():
            name = section.removeprefix("profile ").strip()
            found.setdefault(name, {}).update(parser[section])
    return found


def profile_region(environ: Mapping[str, str], profile: str | None) -> str | None:
    name = profile or environ.get("AWS_PROFILE") or "default"
    return read_profiles(environ).get(name, {}).get("region")


def _profile(
    place: Place, profiles: Mapping[str, Mapping[str, str]], name: str, depth: int
) -> Credentials | None:
    given = profiles.get(name)
    if given is None or depth > MAX_ROLES:
        raise CredentialsError(f"The AWS profile {name!r} is missing, or names itself as source.")
    if role := given.get("role_arn"):
        return _role(place, profiles, given, role, depth)
    if given.get("aws_access_key_id") and given.get("aws_secret_access_key"):
        token = given.get("aws_session_token") or None
        return Credentials(given["aws_access_key_id"], given["aws_secret_access_key"], token)
    if command := given.get("credential_process"):
        return _process(place, command)
    if "sso_session" in given or "sso_start_url" in given:
        raise CredentialsError(
            f"The AWS profile {name!r} signs in through SSO, which a server cannot; give it a "
            "credential_process (aws configure export-credentials) or a role."
        )
    return None


def _role(
    place: Place,
    profiles: Mapping[str, Mapping[str, str]],
    given: Mapping[str, str],
    role: str,
    depth: int,
) -> Credentials:
    session = given.get("role_session_name")
    if path := given.get("web_identity_token_file"):
        return _web_identity(place, path, role, session)
    if source := given.get("source_profile"):
        base = _profile(place, profiles, source, depth + 1)
    else:
        kinds = {"Environment": environment, "EcsContainer": container}
        kinds["Ec2InstanceMetadata"] = instance_metadata
        kind = kinds.get(given.get("credential_source", ""))
        base = kind(place) if kind else None
    if base is None:
        raise CredentialsError(f"The AWS role {role} has no source of credentials to assume it.")
    extra = {"ExternalId": given["external_id"]} if given.get("external_id") else {}
    return described(endpoints.assume_role(place.environ, place.region, role, session, base, extra))


def _web_identity(place: Place, path: str, role: str, session: str | None) -> Credentials:
    token = Path(path).read_text(encoding="utf-8").strip()
    return described(endpoints.assume_with_token(place.environ, place.region, role, session, token))


def _process(place: Place, command: str) -> Credentials:
    """A program of the operator's, as the shared files name it; no shell is involved."""
    done = subprocess.run(
        shlex.split(command),
        capture_output=True,
        timeout=PROCESS_SECONDS,
        check=True,
        env={**os.environ, **place.environ},
    )
    return described(json.loads(done.stdout))
