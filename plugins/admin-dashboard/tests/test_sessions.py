"""Sessions and what comes of a browser's headers, without a gateway."""

from pathlib import Path

import pytest
from llm_gateway_admin_dashboard.http import Form, on_loopback, own_site, set_cookie
from llm_gateway_admin_dashboard.sessions import FILE, Sealer, fresh, secret_of
from llm_gateway_api import MalformedBodyError


def test_only_the_secret_that_sealed_a_session_opens_it() -> None:
    session = fresh(1000.0, "gw_key_secret")
    sealed = Sealer(b"one").seal(session)

    assert Sealer(b"one").open(sealed) == session
    assert Sealer(b"two").open(sealed) is None


def test_a_sealed_session_shows_nothing_of_its_key() -> None:
    sealer = Sealer(b"one")
    session = fresh(1000.0, "gw_key_secret")

    assert "secret" not in sealer.seal(session)
    assert sealer.seal(session) != sealer.seal(session)


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_session_that_was_changed_is_none(at: int) -> None:
    sealed = Sealer(b"one").seal(fresh(1000.0, "k"))
    other = "A" if sealed[at] != "A" else "B"

    assert Sealer(b"one").open(sealed[:at] + other + sealed[at + 1 :]) is None


@pytest.mark.parametrize("text", ["", "x", "%%%", "A" * 5000, "ä"])
def test_what_was_never_sealed_is_no_session(text: str) -> None:
    assert Sealer(b"one").open(text) is None


def test_a_forms_token_fits_its_session_only() -> None:
    sealer, one, other = Sealer(b"one"), fresh(1.0, "k"), fresh(1.0, "k")

    assert sealer.fits(one, sealer.token(one))
    assert not sealer.fits(other, sealer.token(one))
    assert not sealer.fits(one, "")


def test_the_secret_is_made_once_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    made = secret_of(None, tmp_path)

    assert secret_of(None, tmp_path) == made
    assert len(made) == 64
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    assert [each.name for each in tmp_path.iterdir()] == [FILE]
    assert secret_of("configured", tmp_path) == b"configured"


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({"sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site", "origin": "http://a:1", "host": "a:1"}, False),
        ({"origin": "https://gw.example", "host": "gw.example"}, True),
        ({"origin": "https://evil.example", "host": "gw.example"}, False),
        ({"origin": "null", "host": "gw.example"}, False),
        ({}, True),
    ],
)
def test_where_a_form_comes_from(headers: dict[str, str], own: bool) -> None:
    """A browser says it; what says nothing is no browser, and the token decides."""
    assert own_site(headers) is own


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("localhost:8080", True),
        ("127.0.0.1", True),
        ("[::1]:8080", True),
        ("gw.localhost:80", True),
        ("gw.example", False),
        ("localhost.evil.example:80", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, local: bool) -> None:
    assert on_loopback({"host": host}) is local


def test_a_cookie_is_kept_from_scripts_and_other_sites() -> None:
    text = set_cookie("name", "value", 60, secure=True)

    assert text == "name=value; Path=/dashboard; HttpOnly; SameSite=Strict; Max-Age=60; Secure"


def test_the_fields_of_a_form() -> None:
    form = Form(b"name=+Ada+&models=a%2C+b%0Ac&limit=12&empty=")

    assert form.text("name") == "Ada"
    assert form.names("models") == ["a", "b", "c"]
    assert form.names("empty") is None
    assert (form.whole("limit"), form.whole("empty"), form.whole("absent")) == (12, None, None)
    with pytest.raises(MalformedBodyError) as raised:
        form.whole("name")
    assert raised.value.param == "name"


def test_a_body_that_no_form_sends_is_refused() -> None:
    for body in (b"\xff=1", b"&".join(b"a=1" for _ in range(500))):
        with pytest.raises(MalformedBodyError):
            Form(body)
