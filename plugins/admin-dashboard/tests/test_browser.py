"""Every page and form in a real Chromium: nothing inline, nothing from elsewhere, by keyboard too.

    uv run --all-packages --group browser pytest -m slow plugins/admin-dashboard

`DASHBOARD_SCREENSHOTS` names a folder for a picture of every page.
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

pytest.importorskip("playwright", reason="needs Playwright: uv run --group browser")
from playwright.async_api import Browser, Page, async_playwright

ADMIN = "admin-key-0123456789abcdef"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGES = {
    "overview": "Overview",
    "usage": "Cost and tokens",
    "requests": "Requests",
    "providers": "Providers",
    "limits": "Limits and budgets",
    "cache": "Cache",
    "keys": "Keys",
    "tenants": "Tenants",
    "tenants/acme": "Tenant acme",
    "plugins": "Plugins",
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as driver:
        found = await driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        await found.close()


class Visitor:
    """A page that keeps what went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.wrong: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("request", self._asked)
        page.on("dialog", self._confirmed)

    async def see(self, path: str) -> None:
        answer = await self.page.goto(f"{self.url}/dashboard/{path}")
        assert answer is not None
        assert answer.status == 200, path

    async def log_in(self, key: str = ADMIN) -> None:
        await self.see("login")
        await self.page.get_by_label("Key", exact=True).fill(key)
        await self.page.get_by_role("button", name="Log in").click()
        await self.page.wait_for_url(re.compile("/dashboard/(overview|usage)$"))

    async def press(self, name: str) -> None:
        """The button `name` of a form, and wait for what comes of it."""
        async with self.page.expect_navigation():
            await self.page.get_by_role("button", name=name).first.click()

    def _said(self, message: Any) -> None:
        # a form that is sent back says so by its status, which the console tells
        expected = "400 (Bad Request)" in message.text or "401 (Unauthorized)" in message.text
        if message.type in ("error", "warning") and not expected:
            self.wrong.append(f"{message.type}: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(f"{self.url}/dashboard"):
            self.wrong.append(f"asked for {request.url}")

    def _confirmed(self, dialog: Any) -> None:
        asyncio.get_running_loop().create_task(dialog.accept())


@asynccontextmanager
async def visitor(browser: Browser, site: Any, **how: Any) -> AsyncIterator[Visitor]:
    """Ends with nothing wrong: no error, no breach of the policy, no request to elsewhere."""
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **how})
    found = Visitor(await context.new_page(), site.gateway.url)
    await found.page.add_init_script(
        "document.addEventListener('securitypolicyviolation',"
        " (event) => console.error('policy: ' + event.violatedDirective));"
    )
    yield found
    await context.close()
    assert found.wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
async def test_every_page(browser: Browser, site: Any, scheme: str, width: int) -> None:
    """Each has its heading and its place in the menu, and no wider than its window."""
    how = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    async with visitor(browser, site, **how) as guest:
        await guest.log_in()
        for path, heading in PAGES.items():
            await guest.see(path)
            page = guest.page
            assert await page.get_by_role("heading", level=1).inner_text() == heading
            assert await page.locator("nav [aria-current=page]").count() == 1
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
            assert await page.evaluate(UNNAMED) == []
            await pictured(page, f"{path.replace('/', '-')}-{scheme}-{width}")


# Fields without a label, tables without a caption, columns and buttons without a name.
UNNAMED = """() => [
  ...[...document.querySelectorAll('input:not([type=hidden]), select')].filter(
    (each) => !each.labels.length && !each.getAttribute('aria-label') && !each.hidden),
  ...[...document.querySelectorAll('table')].filter((each) => !each.caption?.textContent.trim()),
  ...[...document.querySelectorAll('thead th')].filter((each) => !each.textContent.trim()),
  ...[...document.querySelectorAll('thead th')].filter((each) => each.scope !== 'col'),
  ...[...document.querySelectorAll('button, a')].filter(
    (each) => !each.textContent.trim() && !each.getAttribute('aria-label')),
  ...[...document.querySelectorAll('img')].filter((each) => !each.hasAttribute('alt')),
].map((each) => each.outerHTML.slice(0, 200))"""


async def test_charts_are_drawn_and_refreshed(browser: Browser, site: Any) -> None:
    """Each tells in words what it shows, and moves on with the traffic."""
    async with visitor(browser, site) as guest:
        await guest.log_in()
        page = guest.page
        plot = page.locator("[data-chart=requests] .plot")
        await page.wait_for_selector("[data-chart=requests] canvas", timeout=30_000)
        before = await plot.get_attribute("aria-label")
        assert before is not None
        assert "Requests a second" in before
        tiles = await page.locator(".tiles").inner_text()
        for number in range(40):
            await site.chat(f"for the chart {number}", key=site.keys["globex"])
        await page.wait_for_function(
            "(old) => document.querySelector('.tiles').innerText !== old", arg=tiles
        )
        await page.wait_for_function(
            "(old) => document.querySelector('[data-chart=requests] .plot').ariaLabel !== old",
            arg=before,
        )


async def test_updates_can_be_paused_and_stay_so(browser: Browser, site: Any) -> None:
    async with visitor(browser, site) as guest:
        await guest.log_in()
        button = guest.page.locator("[data-pause]")
        await button.click()
        assert await button.get_attribute("aria-pressed") == "true"
        asked: list[str] = []
        guest.page.on("request", lambda request: asked.append(request.url))
        await guest.page.wait_for_timeout(6500)  # longer than the time between two updates
        assert asked == []
        await guest.see("requests")
        assert await guest.page.locator("[data-pause]").get_attribute("aria-pressed") == "true"


async def test_colours_are_chosen_and_kept(browser: Browser, site: Any) -> None:
    async with visitor(browser, site, color_scheme="light") as guest:
        await guest.log_in()
        background = "getComputedStyle(document.body).backgroundColor"
        light = await guest.page.evaluate(background)
        await guest.page.get_by_label("Colours").select_option("dark")
        dark = await guest.page.evaluate(background)
        await guest.see("usage")

        assert dark != light
        assert await guest.page.evaluate(background) == dark


async def test_a_tenant_and_its_key_from_beginning_to_end(browser: Browser, site: Any) -> None:
    async with visitor(browser, site) as guest:
        await guest.log_in()
        page = guest.page
        await guest.see("tenants")
        await page.get_by_label("Id (required)").fill("initech")
        await guest.press("Create the tenant")
        assert await page.get_by_role("status").inner_text() == "The tenant is created."
        await page.get_by_label("Requests a minute").fill("lots")
        await guest.press("Save")
        field = page.get_by_label("Requests a minute")
        assert await field.get_attribute("aria-invalid") == "true"
        assert await field.evaluate("(each) => each === document.activeElement")
        await field.fill("2")
        await guest.press("Save")
        await page.get_by_role("link", name="Its keys").click()
        await page.locator("#name").fill("Initech app")
        await page.locator("#tenant").fill("initech")
        await guest.press("Create the key")
        assert await page.locator("#made").evaluate("(each) => each === document.activeElement")
        await pictured(page, "keys-made")
        first = await page.get_by_role("textbox", name="The key").input_value()
        answers = [await site.chat(f"{n}", key=first) for n in range(3)]
        assert [each.status for each in answers] == [200, 200, 429]
        await guest.see("limits")
        row = page.get_by_role("row").filter(has_text="initech").first
        assert "2 of 2" in await row.inner_text()
        await guest.see("keys?tenant=initech")
        await guest.press("Rotate Initech app")
        second = await page.get_by_role("textbox", name="The key").input_value()
        assert second != first
        await guest.see("keys?tenant=initech")
        await guest.press("Revoke Initech app")
        assert "revoked" in await page.get_by_role("status").first.inner_text()
        async with asyncio.timeout(30):
            while (await site.chat("late", key=second)).status != 401:
                await asyncio.sleep(0.1)
        await guest.see("tenants/initech")
        await guest.press("Delete the tenant")
        assert "confirm" in await page.locator("#confirm-about").inner_text()
        await page.get_by_label("Type initech to confirm").fill("initech")
        await guest.press("Delete the tenant")
        assert "deleted" in await page.get_by_role("status").inner_text()


@pytest.mark.parametrize(
    ("unit", "amount", "shown", "what"),
    [("usd", "12.50", "$12.50", "budget"), ("tokens", "5000", "5,000 tokens", "quota")],
)
async def test_a_budget_or_quota_is_set_and_deleted(
    browser: Browser, site: Any, unit: str, amount: str, shown: str, what: str
) -> None:
    async with visitor(browser, site) as guest:
        await guest.log_in()
        page = guest.page
        await guest.see("limits")
        await page.get_by_label("Its id (required)").fill("globex")
        await page.get_by_label("Of", exact=True).select_option(unit)
        await page.get_by_label("Amount (required)").fill("a lot")
        await guest.press("Set it")
        assert await page.locator("#amount").get_attribute("aria-invalid") == "true"
        assert await page.locator("#owner").input_value() == "globex"
        await page.get_by_label("Amount (required)").fill(amount)
        await guest.press("Set it")
        row = page.get_by_role("row").filter(has_text="tenant globex")
        assert shown in await row.first.inner_text()
        await guest.press(f"Delete the {what} of tenant globex")
        assert "deleted" in await page.get_by_role("status").first.inner_text()


async def test_the_cache_is_emptied(browser: Browser, site: Any) -> None:
    async with visitor(browser, site) as guest:
        await guest.log_in()
        await site.chat("to be forgotten", key=site.keys["globex"])
        await guest.see("cache")
        await guest.page.get_by_label("Only older than").fill("soon")
        await guest.press("Remove")
        assert await guest.page.locator("#older_than").get_attribute("aria-invalid") == "true"
        await guest.page.get_by_label("Only older than").fill("")
        await guest.press("Remove")
        assert "removed here" in await guest.page.get_by_role("status").first.inner_text()
        assert "Nothing is kept." in await guest.page.locator("main").inner_text()


async def test_a_requests_trail_is_reached_by_its_id(browser: Browser, site: Any) -> None:
    answer = await site.chat("once more?", "unlucky", key=site.keys["globex"])
    async with visitor(browser, site) as guest:
        await guest.log_in()
        await guest.see("requests")
        await guest.page.get_by_label("Request id").fill(answer.headers["x-request-id"])
        await guest.press("Show")
        shown = await guest.page.locator(".trail").inner_text()
        await pictured(guest.page, "request")

    assert "broken/gpt-4o" in shown
    assert "fast/chat" in shown


async def test_by_keyboard_alone(browser: Browser, site: Any) -> None:
    """In, over the menu to a page, past it by the skip link, and out again; the focus shows."""
    async with visitor(browser, site) as guest:
        page = guest.page
        await guest.see("login")  # the field has the focus
        await page.keyboard.type(ADMIN)
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/overview")
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        await page.wait_for_function(  # it slides in
            "() => document.activeElement.getBoundingClientRect().top >= 0"
        )
        await page.keyboard.press("Enter")
        assert await page.evaluate("document.activeElement.id") == "main"
        await focused(page, "Keys", "Shift+Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert await page.evaluate(outline) == "solid"
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/keys")
        await focused(page, "Log out", "Tab")
        await page.keyboard.press("Enter")
        await page.wait_for_url("**/login")


async def focused(page: Page, text: str, key: str) -> None:
    """Press `key` until what says `text` has the focus."""
    for _ in range(60):
        await page.keyboard.press(key)
        if await page.evaluate("document.activeElement.textContent.trim()") == text:
            return
    raise AssertionError(f"{text!r} is not reached with {key}")


async def test_the_menu_of_a_phone(browser: Browser, site: Any) -> None:
    async with visitor(browser, site, viewport={"width": 360, "height": 740}) as guest:
        await guest.log_in()
        page = guest.page
        link = page.get_by_role("link", name="Providers")
        assert not await link.is_visible()
        await page.get_by_role("button", name="Menu").click()
        assert await link.is_visible()
        await page.keyboard.press("Escape")
        assert not await link.is_visible()
        assert await page.evaluate("document.activeElement.textContent") == "Menu"


async def test_who_wants_less_motion_gets_none(browser: Browser, site: Any) -> None:
    async with visitor(browser, site, reduced_motion="reduce") as guest:
        await guest.log_in()
        moving = "[...document.querySelectorAll('*')].filter((each) => parseFloat("
        moving += "getComputedStyle(each).transitionDuration) > 0).length"
        assert await guest.page.evaluate(moving) == 0


async def test_a_session_that_ends_leads_back_to_the_form(browser: Browser, site: Any) -> None:
    """The page that lies open is sent there by its next update."""
    made = await site.admin("POST", "keys", {"role": "operator"})
    async with visitor(browser, site) as guest:
        await guest.log_in(made["key"])
        await site.admin("POST", f"keys/{made['id']}/revoke", {})
        await guest.page.wait_for_url("**/login?ended=1", timeout=30_000)
        assert "Your session has ended" in await guest.page.get_by_role("alert").inner_text()


async def test_a_tenants_reader(browser: Browser, site: Any) -> None:
    """Has the pages of its tenant in the menu, and no form that changes anything."""
    async with visitor(browser, site) as guest:
        await guest.log_in(site.keys["acme operator"])
        names = await guest.page.locator("nav a").all_inner_texts()
        assert "Tenants" not in names and "Plugins" not in names
        await guest.see("keys")
        assert await guest.page.locator("main form[method=post]").count() == 0
        assert "globex" not in await guest.page.locator("main").inner_text()


async def pictured(page: Page, name: str) -> None:
    if folder := os.environ.get("DASHBOARD_SCREENSHOTS"):
        await page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
