"""Who gets in, who does not, and which keys stop the start."""

import sys
from pathlib import Path
from typing import cast

import llm_gateway_api as gw
import pytest
from llm_gateway_filter_auth import plugin
from llm_gateway_filter_auth.keys import checked, checked_admin
from llm_gateway_store_sqlite.store import SqliteStore
from pydantic import SecretStr

USER = "gw-user-0123456789abcdef"
ADMIN = "gw-admin-0123456789abcdef"


@pytest.fixture(autouse=True)
def no_keys_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(plugin.API_KEYS, raising=False)
    monkeypatch.delenv(plugin.ADMIN_KEY, raising=False)


def arrival(peer: str = "127.0.0.1", **headers: str) -> gw.Arrival:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return gw.Arrival("r1", "POST", "/v1/chat/completions", "", named, peer, 0.0)


def made(
    data_dir: Path,
    store: gw.Store | None = None,
    failed: gw.FailedLogins | None = None,
    **settings: object,
) -> plugin.AuthFilter:
    validated = plugin.AuthSettings.model_validate(settings)
    failed = gw.FailedLogins() if failed is None else failed
    filter_ = plugin.make(validated, data_dir=data_dir, store=store, failed_logins=failed)
    assert filter_ is not None
    return filter_


@pytest.mark.parametrize(
    ("headers", "role"),
    [
        ({"authorization": f"Bearer {USER}"}, "user"),
        ({"authorization": f"bearer  {USER} "}, "user"),
        ({"x_api_key": USER}, "user"),
        ({"authorization": "Basic x", "x_api_key": ADMIN}, "admin"),
        ({"authorization": "Bearer of-something-else", "x_api_key": USER}, "user"),
        ({"authorization": f"Bearer {USER}", "x_api_key": "of-something-else"}, "user"),
        ({"authorization": f"Bearer {USER}", "x_api_key": ADMIN}, "user"),
    ],
)
async def test_known_key(tmp_path: Path, headers: dict[str, str], role: str) -> None:
    """A known key becomes a principal that carries part of its digest, not of the key."""
    auth = made(tmp_path, api_keys=[USER], admin_key=ADMIN)

    seen = await auth.inspect(arrival(**headers))

    assert isinstance(seen, gw.Arrival)
    assert seen.principal.role == role
    assert seen.principal.key_id is not None and len(seen.principal.key_id) == 8
    assert seen.principal.key_id not in USER + ADMIN


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({}, "No API key"),
        ({"authorization": "Bearer "}, "No API key"),
        ({"authorization": f"Basic {USER}"}, "No API key"),
        ({"authorization": f"Bearer {USER}x"}, "not known"),
        ({"x_api_key": "\udcff"}, "not known"),
    ],
)
async def test_refused(tmp_path: Path, headers: dict[str, str], says: str) -> None:
    """Without a known key the answer is 401 and says what to send."""
    refusal = await made(tmp_path, api_keys=[USER]).inspect(arrival(**headers))

    assert isinstance(refusal, gw.Refusal)
    assert (refusal.status, refusal.code) == (401, "invalid_api_key")
    assert says in refusal.message and "Authorization: Bearer KEY" in refusal.message


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def statuses(auth: plugin.AuthFilter, peer: str, *keys: str) -> list[int]:
    """What each key is answered with; 0 where it passes."""
    found = [await auth.inspect(arrival(peer, x_api_key=each)) for each in keys]
    return [each.status if isinstance(each, gw.Refusal) else 0 for each in found]


async def test_unknown_keys_of_an_address_are_limited(tmp_path: Path) -> None:
    """To so many a minute; good keys of that address go on working, unless they are so short
    that they may have been guessed. No key at all is no guess."""
    clock, short = Clock(), "short-key"
    failed = gw.FailedLogins(clock)
    auth = made(tmp_path, None, failed, api_keys=[USER, short], failed_logins_per_minute=3)

    assert await statuses(auth, "10.0.0.1", *["wrong-key"] * 5) == [401] * 3 + [429] * 2
    refusal = await auth.inspect(arrival("10.0.0.1", x_api_key="wrong-key"))
    assert isinstance(refusal, gw.Refusal) and refusal.retry_after == pytest.approx(20)
    assert await statuses(auth, "10.0.0.1", USER, short, "") == [0, 429, 401]
    assert await statuses(auth, "10.0.0.2", short, "wrong-key") == [0, 401]
    clock.now += 20.0
    assert await statuses(auth, "10.0.0.1", short, "wrong-key", "wrong-key") == [0, 401, 429]
    clock.now += 3600.0
    assert await statuses(auth, "10.0.0.1", *["wrong-key"] * 4) == [401] * 3 + [429]


async def test_unknown_keys_may_be_unlimited(tmp_path: Path) -> None:
    auth = made(tmp_path, api_keys=[USER], failed_logins_per_minute=None)

    assert await statuses(auth, "10.0.0.1", *["wrong-key"] * 100) == [401] * 100


def test_a_network_of_ipv6_is_one_address() -> None:
    """A host there has 2**64 of them."""
    failed = gw.FailedLogins(Clock())
    for host in range(10):
        failed.count(f"2001:db8:1:2::{host:x}", 10)
    failed.count("::ffff:10.0.0.1", 1)

    assert failed.refusal("2001:db8:1:2:ffff::1") is not None
    assert failed.refusal("2001:db8:1:3::1") is None
    assert failed.refusal("10.0.0.1") is not None
    assert failed.refusal("") is None and failed.refusal("fe80::1%eth0") is None


def test_what_is_kept_of_addresses_is_bounded() -> None:
    """Those that failed last are kept."""
    failed = gw.FailedLogins(Clock())
    for number in range(20_000):
        failed.count(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1)

    assert len(failed) == 10_000
    assert failed.refusal("10.0.78.31") is not None
    assert failed.refusal("10.0.0.0") is None


async def test_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables add API keys, and replace the admin key of the file."""
    monkeypatch.setenv(plugin.API_KEYS, f"{USER}-1, {USER}-2,")
    monkeypatch.setenv(plugin.ADMIN_KEY, ADMIN)
    auth = made(tmp_path, api_keys=[USER], admin_key="another-admin-key-123")

    seen = [
        await auth.inspect(arrival(x_api_key=key))
        for key in (USER, f"{USER}-1", f"{USER}-2", ADMIN, "another-admin-key-123")
    ]

    assert [isinstance(each, gw.Arrival) for each in seen] == [True] * 4 + [False]
    assert not (tmp_path / "api-key").exists()


@pytest.mark.parametrize(
    "key", ["", "  ", "changeme", "sk-your-key", "sk-...", "YOUR_API_KEY", "<key>", "xxxx", "a b"]
)
def test_bad_key(key: str) -> None:
    """Blank keys, samples and what no header can carry stop the start, unquoted."""
    with pytest.raises(gw.ConfigurationError, match="here"):
        checked(key, "here")


def test_bad_admin_keys(tmp_path: Path) -> None:
    """A short admin key stops the start, and so does one that a user has too."""
    with pytest.raises(gw.ConfigurationError, match="16"):
        checked_admin("0123456789abcde", "here")
    with pytest.raises(gw.ConfigurationError, match="of its own"):
        made(tmp_path, api_keys=[USER], admin_key=USER)


def test_disabled(tmp_path: Path) -> None:
    """Switched off there is no filter, and no key is made."""
    off, failed = plugin.AuthSettings(enabled=False), gw.FailedLogins()
    assert plugin.make(off, data_dir=tmp_path, store=None, failed_logins=failed) is None
    assert not list(tmp_path.iterdir())


async def test_generated_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal the key is only in its file, mode 0600, and stays the same."""
    data_dir = tmp_path / "state"

    auth = made(data_dir, admin_key="")
    before = await auth.inspect(arrival(x_api_key=USER))
    assert isinstance(before, gw.Refusal) and not data_dir.exists()  # nothing until it opens
    async with auth.open():
        path = data_dir / "api-key"
        key = path.read_text().strip()
    async with (again := made(data_dir)).open():
        seen = await again.inspect(arrival(x_api_key=key))

    assert isinstance(seen, gw.Arrival) and seen.principal.role == "user"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in data_dir.iterdir()] == ["api-key"]
    shown = capsys.readouterr()
    assert key not in shown.err + shown.out and str(path) in shown.err


async def test_generated_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal is shown the key when it is made, and never again."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    async with made(tmp_path).open():
        first = capsys.readouterr().err
    async with made(tmp_path).open():
        second = capsys.readouterr().err

    key = (tmp_path / "api-key").read_text().strip()
    assert key in first and key not in second


async def test_generated_unsafe(tmp_path: Path) -> None:
    """A key file that others may read is refused with the mend."""
    (tmp_path / "api-key").write_text(USER)
    (tmp_path / "api-key").chmod(0o644)

    with pytest.raises(gw.ConfigurationError, match="chmod 600"):
        async with made(tmp_path).open():
            pass


def test_secrets_do_not_print() -> None:
    """Settings do not show a key, whoever prints them."""
    settings = plugin.AuthSettings(api_keys=(SecretStr(USER),), admin_key=SecretStr(ADMIN))

    assert USER not in repr(settings) and ADMIN not in repr(settings)


def test_declarations() -> None:
    """One filter in the stage identity, with the settings it names."""
    (settings,) = plugin.llm_gateway_settings()
    (spec,) = plugin.llm_gateway_security_filters()

    assert spec.settings == settings.path == "security.auth"
    assert (spec.name, spec.stage) == ("auth", "identity")
    assert spec.needs == ("data_dir", "store", "failed_logins")


async def test_whom_another_filter_knows_passes(tmp_path: Path) -> None:
    auth = made(tmp_path, api_keys=[USER])
    known = gw.Arrival(
        "r1", "POST", "/", "", {"x-api-key": "stored"}, "127.0.0.1", 0.0, gw.Principal("k1")
    )

    assert await auth.inspect(known) is known


async def test_where_the_store_has_keys_none_is_generated(tmp_path: Path) -> None:
    """No key, no table and no store are all nobody; a store that cannot tell changes nothing."""
    store = SqliteStore(tmp_path / "gateway.db", 5)
    async with store.open():
        async with made(tmp_path, store).open():  # no such table
            assert (tmp_path / "api-key").exists()
        (tmp_path / "api-key").unlink()
        await store.execute("CREATE TABLE api_keys (id TEXT)")
        async with made(tmp_path, store).open():
            assert (tmp_path / "api-key").exists()
        (tmp_path / "api-key").unlink()
        await store.execute("INSERT INTO api_keys VALUES ('k')")
        async with made(tmp_path, store).open():
            assert not (tmp_path / "api-key").exists()


def test_short_keys_are_warned_about_by_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(plugin.API_KEYS, "short-1,short-2")

    found = made(tmp_path, api_keys=[USER, "short-0"]).warnings(cast(gw.Targets, None))

    assert [each.partition(" has")[0] for each in found] == [
        "security.auth.api_keys[1]",
        plugin.API_KEYS,
    ]
    assert not any("short-" in each for each in found)
