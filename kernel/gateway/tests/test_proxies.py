"""Which calls take a proxy."""

import pytest
from llm_gateway.proxies import configured, proxy_for
from llm_gateway_api import ConfigurationError

VARIABLES = [f"{n}_PROXY" for n in ("HTTP", "HTTPS", "NO", "ALL")]


@pytest.fixture(autouse=True)
def no_proxies_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_without_a_word_calls_go_direct() -> None:
    assert configured("p", None) is None


@pytest.mark.parametrize("word", ["", "none", "Direct"])
def test_the_setting_may_refuse_the_environments(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")

    assert configured("p", word) is None


def test_the_setting_holds_for_every_origin() -> None:
    proxies = configured("p", "http://user:pw@proxy:3128")

    assert proxies is not None
    assert proxy_for("https://127.0.0.1", proxies) == "http://user:pw@proxy:3128"


@pytest.mark.parametrize(
    ("origin", "proxy"),
    [
        ("https://api.example", "http://secure:1"),
        ("http://api.example:8000", "http://plain:1"),
        ("https://inner.corp.example", None),
        ("https://other.example:8443", None),
        ("http://localhost:8000", None),
        ("http://127.0.0.1:8000", None),
        ("http://[::1]:8000", None),
    ],
)
def test_the_environment_decides_by_scheme_and_host(
    origin: str, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://plain:1")
    monkeypatch.setenv("https_proxy", "http://secure:1")
    monkeypatch.setenv("NO_PROXY", "corp.example, other.example:8443")

    proxies = configured("p", None)

    assert proxies is not None
    assert proxy_for(origin, proxies) == proxy


@pytest.mark.parametrize(
    "proxy", ["socks5://proxy:1", "proxy:3128", "http://:80", "http://h:99999"]
)
def test_what_is_no_proxy_is_refused_without_its_text(proxy: str) -> None:
    with pytest.raises(ConfigurationError, match=r"providers\.p\.proxy") as caught:
        configured("p", proxy)

    assert proxy not in str(caught.value)
