"""The dashboard of a real gateway, by plain HTTP: who gets in, and what they may see and do."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from llm_gateway_testkit import servers
from llm_gateway_testkit.gateway import running_gateway
from llm_gateway_testkit.rawclient import Reply, call

ADMIN = "admin-key-0123456789abcdef"
SIM = {"providers": {"sim": {"kind": "simulated"}}}
ENV = {"LLM_GATEWAY_ADMIN_KEY": ADMIN}
PAGES = (
    "overview",
    "usage",
    "requests",
    "providers",
    "limits",
    "cache",
    "keys",
    "tenants",
    "plugins",
)
FOR_TENANTS = {"usage", "requests", "limits", "cache", "keys"}
pytestmark = pytest.mark.asyncio(loop_scope="session")


class Browser:
    """Keeps cookies, and sends what a browser sends with a form."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies: dict[str, str] = {}

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self._kept(await call(f"{self.url}/dashboard/{path}", headers=self._sent(headers)))

    async def post(
        self, path: str, headers: Mapping[str, str] | None = None, **fields: str
    ) -> Reply:
        body = urlencode(fields).encode()
        sent = {"sec-fetch-site": "same-origin", **(headers or {})}
        url = f"{self.url}/dashboard/{path}"
        return self._kept(await call(url, body, method="POST", headers=self._sent(sent)))

    async def login(self, key: str) -> Reply:
        return await self.post("login", token=token(await self.get("login")), key=key)

    async def send(self, page: str, path: str, **fields: str) -> Reply:
        """Send a form that stands on `page`."""
        return await self.post(path, token=token(await self.get(page)), **fields)

    def _sent(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {**({"cookie": pairs} if pairs else {}), **(headers or {})}

    def _kept(self, reply: Reply) -> Reply:
        if set_cookie := reply.headers.get("set-cookie"):
            name, _, value = set_cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return reply


def token(reply: Reply) -> str:
    found = re.search(rb'name="token" value="([0-9a-f]{64})"', reply.body)
    assert found, reply.body
    return found[1].decode()


async def inside(site: Any, key: str = ADMIN) -> Browser:
    browser = Browser(site.gateway.url)
    reply = await browser.login(key)
    assert (reply.status, reply.headers["location"]) == (303, "/dashboard/overview"), reply.body
    return browser


async def test_every_page_is_behind_the_login(site: Any) -> None:
    """Nothing but the form and the files it needs is there for strangers."""
    stranger = Browser(site.gateway.url)
    for page in (*PAGES, "keys/x", "requests/x", "no-such-page"):
        reply = await stranger.get(page)
        assert (reply.status, reply.headers["location"], reply.body) == (
            303,
            "/dashboard/login",
            b"",
        )
    poll = await stranger.get("overview", {"hx-request": "true"})
    numbers = await stranger.get("overview/live.json")

    assert (poll.status, numbers.status) == (401, 401)


async def test_an_admin_sees_every_page(site: Any) -> None:
    browser = await inside(site)

    for page in PAGES:
        reply = await browser.get(page)
        assert reply.status == 200, (page, reply.body)
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert "no-store" in reply.headers["cache-control"]
        assert not re.search(rb"<script(?![^>]*\bsrc=)|\son\w+=|\sstyle=|<style", reply.body)
    assert not any("endpoint.failed" in line for line in site.gateway.log_lines())


async def test_a_wrong_key_is_told_next_to_its_field(site: Any) -> None:
    browser = Browser(site.gateway.url)

    reply = await browser.login("no-such-key")

    assert reply.status == 401
    assert b'aria-invalid="true" aria-describedby="key-about"' in reply.body
    assert b"no-such-key" not in reply.body
    assert (await browser.get("overview")).status == 303
    assert (await browser.get("")).headers["location"] == "/dashboard/login"


async def test_a_key_for_models_does_not_open_the_dashboard(site: Any) -> None:
    reply = await Browser(site.gateway.url).login(site.keys["acme"])

    assert reply.status == 403
    assert b"role operator or admin" in reply.body


async def test_the_login_form_needs_its_own_token(site: Any) -> None:
    browser = Browser(site.gateway.url)
    good = token(await browser.get("login"))

    bare = await Browser(site.gateway.url).post("login", token=good, key=ADMIN)
    wrong = await browser.post("login", token="0" * 64, key=ADMIN)
    crossed = await browser.post("login", {"sec-fetch-site": "cross-site"}, token=good, key=ADMIN)

    assert [each.status for each in (bare, wrong, crossed)] == [403, 403, 403]
    assert browser.cookies.keys() == {"llm_gateway_dashboard_form"}


async def test_a_form_of_another_site_changes_nothing(site: Any) -> None:
    browser = await inside(site)
    good = token(await browser.get("tenants"))

    for headers, given in (
        ({"sec-fetch-site": "cross-site"}, good),
        ({}, "0" * 64),
        ({}, ""),
    ):
        reply = await browser.post("tenants", headers, token=given, id="forged")
        assert reply.status == 403
    other = token(await (await inside(site)).get("tenants"))
    assert (await browser.post("tenants", token=other, id="forged")).status == 403
    assert b"forged" not in (await browser.get("tenants")).body


async def test_an_operator_reads_and_changes_nothing(site: Any) -> None:
    browser = await inside(site, site.keys["operator"])

    for page in PAGES:
        assert (await browser.get(page)).status == 200
    for path in ("keys", "tenants", "limits", "cache", "tenants/acme", "keys/x/revoke"):
        reply = await browser.send("overview", path, id="mine")
        assert reply.status == 403
        assert b"role admin" in reply.body
    assert b"Create a key" not in (await browser.get("keys")).body


async def test_a_tenants_key_sees_its_tenant_alone(site: Any) -> None:
    browser = await inside(site, site.keys["acme operator"])

    for page in PAGES:
        reply = await browser.get(f"{page}?tenant=globex")
        wanted = 200 if page in FOR_TENANTS else 303 if page == "overview" else 403
        assert reply.status == wanted, page
        assert b"Globex" not in reply.body
        assert b"globex" not in reply.body.replace(b'value="globex"', b"")
    assert b"Acme Industries app" in (await browser.get("keys")).body
    assert b'<th scope="row">acme</th>' in (await browser.get("usage")).body


async def test_logging_out_ends_the_session_wherever_it_was_copied(site: Any) -> None:
    browser = await inside(site)
    thief = Browser(site.gateway.url)
    thief.cookies = dict(browser.cookies)

    reply = await browser.send("overview", "logout")

    assert reply.headers["location"] == "/dashboard/login"
    assert "Max-Age=0" in reply.headers["set-cookie"]
    assert (await thief.get("overview")).status == 303


async def test_a_revoked_key_has_lost_its_session(site: Any) -> None:
    made = await site.admin("POST", "keys", {"role": "operator"})
    browser = await inside(site, made["key"])
    assert (await browser.get("overview")).status == 200

    await site.admin("POST", f"keys/{made['id']}/revoke", {})

    async with asyncio.timeout(30):  # the news of it are on their way
        while (reply := await browser.get("overview")).status == 200:
            await asyncio.sleep(0.05)
    assert (reply.status, reply.headers["location"]) == (303, "/dashboard/login?ended=1")


async def test_static_files_are_kept_for_ever_under_their_content(site: Any) -> None:
    page = (await Browser(site.gateway.url).get("login")).body.decode()
    paths = set(re.findall(r'(?:src|href)="/dashboard/(static/[^"]+)"', page))
    assert len(paths) == 7

    for path in paths:
        reply = await Browser(site.gateway.url).get(path)
        assert reply.status == 200
        assert reply.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert reply.headers["x-content-type-options"] == "nosniff"
    stale = re.sub(r"[0-9a-f]{16}", "0" * 16, paths.pop())
    assert (await Browser(site.gateway.url).get(stale)).status == 404
    for outside in ("static/../settings.py", "static/%2e%2e/plugin.py", "static/"):
        assert (await Browser(site.gateway.url).get(outside)).status in (303, 404)


async def test_a_link_from_elsewhere_does_not_end_a_session(site: Any) -> None:
    """A strict cookie does not come with it; a page of our own asks again, with the cookie."""
    reply = await Browser(site.gateway.url).get("requests", {"sec-fetch-site": "cross-site"})

    assert reply.status == 200
    assert b'http-equiv="refresh" content="0"' in reply.body
    assert "set-cookie" not in reply.headers


async def test_a_created_key_is_shown_once_and_works(site: Any) -> None:
    browser = await inside(site)

    reply = await browser.send("keys", "keys", name="Made here", tenant="acme", models="assistant")

    found = re.search(rb'id="new-key" readonly value="([^"]+)"', reply.body)
    assert found, reply.body
    made = found[1].decode()
    assert (await site.chat("hello", key=made)).status == 200
    assert made not in (await browser.get("keys")).body.decode()
    assert not any(made in line for line in site.gateway.log_lines())


async def test_what_is_wrong_with_a_form_is_told_at_its_field(site: Any) -> None:
    browser = await inside(site)

    taken = await browser.send("tenants", "tenants", id="acme")
    limit = await browser.send("keys", "keys", name="x", requests_per_minute="many")
    nobody = await browser.send("keys", "keys", tenant="no-such-tenant")
    owner = await browser.send(
        "limits", "limits", level="tenant", owner="x", amount="5", period="day"
    )

    for reply, field in (
        (taken, "id"),
        (limit, "requests_per_minute"),
        (nobody, "tenant"),
        (owner, "owner"),
    ):
        assert reply.status == 400
        text = reply.body.decode()
        assert re.search(rf'id="{field}"[^>]*aria-invalid="true"', text), (field, text)
        assert f'class="problem" id="{field}-about"' in text


async def test_the_decision_of_a_request_is_shown_and_nothing_of_what_it_said(site: Any) -> None:
    answer = await site.chat("a very private question", "unlucky", key=site.keys["globex"])
    browser = await inside(site)

    page = (await browser.get(f"requests/{answer.headers['x-request-id']}")).body.decode()

    assert "routing.models" in page
    assert "broken/gpt-4o" in page and "fast/chat" in page
    assert "private question" not in page
    assert (await browser.get("requests/no-such-id")).status == 404


async def test_too_many_attempts_are_told_to_wait() -> None:
    """By address, whatever the key; the right one does not help either."""
    config = {**SIM, "plugins": {"admin_dashboard": {"login_attempts_per_minute": 3}}}
    async with running_gateway(config, ENV) as gateway:
        browser = Browser(gateway.url)
        answers = [await browser.login("guess") for _ in range(3)]
        last = await browser.login(ADMIN)

    assert [each.status for each in answers] == [401, 401, 401]
    assert last.status == 429
    assert int(last.headers["retry-after"]) > 0


async def test_pages_have_the_traffic_of_all_workers() -> None:
    """Whichever worker makes the page; sessions are good at each of them."""
    async with running_gateway(SIM, ENV, args=("--workers", "2")) as gateway:
        browser = Browser(gateway.url)
        await browser.login(ADMIN)
        body = {"model": "simulated", "messages": [{"role": "user", "content": "x"}]}
        ids = set()
        for _ in range(20):
            reply = await call(f"{gateway.url}/v1/chat/completions", body, key=gateway.api_key)
            ids.add(reply.headers["x-request-id"])
        async with asyncio.timeout(60):
            while True:  # a worker may still be starting
                page = (await browser.get("requests")).body.decode()
                if ids <= shown(page):
                    break
                await asyncio.sleep(0.2)
            while "2 workers answered" not in page:
                page = (await browser.get("requests")).body.decode()
            numbers = await browser.get("overview/live.json")
            while not numbers.json["at"]:
                await asyncio.sleep(0.5)
                numbers = await browser.get("overview/live.json")


async def test_pages_have_the_traffic_of_all_workers_of_all_hosts(
    redis_server: servers.Server,
) -> None:
    """Two hosts with two workers each: whoever makes the page, each request is there once, the
    sums are those of all, and a session of the one is good at the other."""
    config = {**SIM, "plugins": {"admin_dashboard": {"session_secret": "s" * 32}}}
    env = {**ENV, "REDIS_URL": redis_server.url}
    workers = ("--workers", "2")
    body = {"model": "simulated", "messages": [{"role": "user", "content": "x"}]}
    async with (
        running_gateway(config, env, args=workers) as one,
        running_gateway(config, env, args=workers) as two,
    ):
        for gateway in (one, two):
            await gateway.serving(2)
        here, there = Browser(one.url), Browser(two.url)
        await here.login(ADMIN)
        there.cookies = here.cookies
        ids = set()
        for number in range(24):
            gateway = (one, two)[number % 2]
            reply = await call(f"{gateway.url}/v1/chat/completions", body, key=gateway.api_key)
            ids.add(reply.headers["x-request-id"])
        async with asyncio.timeout(90):
            for browser in (here, there):
                page = ""
                while "4 workers answered" not in page or not ids <= shown(page):
                    page = (await browser.get("requests")).body.decode()
                    await asyncio.sleep(0.2)
                assert len(re.findall(r"requests/req_[0-9a-f]+", page)) == len(ids) == 24
                total = 0.0
                while round(total) < 24:
                    numbers = (await browser.get("overview/live.json")).json
                    total = 5 * sum(numbers["requests"].get("ok", ()))
                    await asyncio.sleep(0.5)
                assert total == pytest.approx(24, abs=0.1)
                while "4 answered" not in (await browser.get("overview")).body.decode():
                    await asyncio.sleep(0.2)  # a busy worker answers the next time


def shown(page: str) -> set[str]:
    return set(re.findall(r"requests/(req_[0-9a-f]+)", page))
