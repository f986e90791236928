"""How values are written for people."""

import time

import pytest
from llm_gateway_admin_dashboard import views
from llm_gateway_admin_dashboard.routes import found
from llm_gateway_api import NotFoundError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "$0"),
        ("12.5", "$12.50"),
        ("1234.567", "$1,234.57"),
        ("0.0305", "$0.0305"),
        ("0.9951", "$1.00"),
        ("0.0000025", "$0.0000025"),
        (None, views.NONE),
        ("much", views.NONE),
    ],
)
def test_dollars(value: object, text: str) -> None:
    """Small amounts keep what they are worth."""
    assert views.usd(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1234, "1,234"),
        (2_500_000, "2.50 M"),
        (0.256, "0.26"),
        (12.34, "12.3"),
        (None, views.NONE),
    ],
)
def test_counts(value: object, text: str) -> None:
    assert views.count(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.4, "0.4 ms"), (121, "121 ms"), (12_345, "12.3 s"), (None, views.NONE)]
)
def test_milliseconds(value: object, text: str) -> None:
    assert views.milliseconds(value) == text


def test_times_are_utc() -> None:
    assert views.when(0) == "1970-01-01 00:00:00"
    assert views.when("2026-11-28T23:00:00+00:00") == "2026-11-28 23:00:00"
    assert views.when(None) == views.NONE
    assert views.ago(time.time() - 7200) == "2 h ago"
    assert "<script" not in views.moment("<script> x")


def test_shares_and_sizes() -> None:
    assert [views.percent(each) for each in (0, 0.004, 0.5, 1, None)] == [
        "0 %",
        "0.4 %",
        "50 %",
        "100 %",
        views.NONE,
    ]
    assert [views.size(each) for each in (12, 2_500, 3_000_000, 1.1e9)] == [
        "12 B",
        "2.5 kB",
        "3.0 MB",
        "1.1 GB",
    ]


def test_a_path_has_one_page_and_its_parts_are_decoded() -> None:
    from llm_gateway_admin_dashboard.pages import MENU, ROUTES

    route, match = found(ROUTES, "GET", "keys/a%2Fb")

    assert (route.pattern, match) == ("keys/{id}", {"id": "a/b"})
    assert len({(each.method, each.pattern) for each in ROUTES}) == len(ROUTES)
    assert all("/" not in each.pattern for each in MENU)
    for method, path in (("GET", "keys/x/rotate"), ("POST", "plugins"), ("GET", "nothing")):
        with pytest.raises(NotFoundError):
            found(ROUTES, method, path)
