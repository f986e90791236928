"""Keys and tenants in both databases: who is let in, with which rights, and who is not."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import llm_gateway_api as gw
import pytest
from llm_gateway_filter_identity import secret, snapshot
from llm_gateway_filter_identity.documents import NewKey, NewTenant, decoded
from llm_gateway_filter_identity.filter import IdentityFilter
from llm_gateway_filter_identity.repository import Repository
from llm_gateway_filter_identity.residency import Residency
from llm_gateway_filter_identity.syncing import FILE, TOPIC, Syncing
from llm_gateway_state_host.process import ProcessState

NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def silent(*_: object) -> None:
    pass


async def tenant(store: gw.Store, **document: Any) -> dict[str, Any]:
    new = decoded(json.dumps({"id": "acme", **document}).encode(), NewTenant)
    return await Repository(store).create_tenant(new, silent)


async def key(store: gw.Store, clock: Clock | None = None, **document: Any) -> dict[str, Any]:
    new = decoded(json.dumps(document).encode(), NewKey)
    return await Repository(store, clock or Clock()).create_key(new, "gw", "root", silent)


@asynccontextmanager
async def filtering(
    store: gw.Store,
    folder: Path,
    *,
    clock: Clock | None = None,
    poll_seconds: float = 30.0,
    state: gw.StateBackend | None = None,
    metrics: gw.Metrics | None = None,
    failed: gw.FailedLogins | None = None,
) -> AsyncIterator[IdentityFilter]:
    clock, metrics = clock or Clock(), metrics or gw.Metrics()
    syncing = Syncing(store, state, folder, metrics, poll_seconds, clock)
    failed = gw.FailedLogins() if failed is None else failed
    made = IdentityFilter(syncing, metrics, failed, clock)
    async with made.open():
        yield made


def arrival(presented: str, **more: Any) -> gw.Arrival:
    headers = {"authorization": f"Bearer {presented}"}
    given = {"method": "POST", "path": "/v1/chat/completions", "peer": "10.1.2.3", **more}
    return gw.Arrival("r1", given["method"], given["path"], "", headers, given["peer"], 0.0)


async def principal(filter_: IdentityFilter, presented: str, **more: Any) -> gw.Principal:
    seen = await filter_.inspect(arrival(presented, **more))
    assert isinstance(seen, gw.Arrival)
    return seen.principal


async def refused(filter_: IdentityFilter, presented: str, **more: Any) -> gw.Refusal:
    seen = await filter_.inspect(arrival(presented, **more))
    assert isinstance(seen, gw.Refusal)
    return seen


async def test_for_a_limited_address_the_store_is_not_asked(
    store: gw.Store, tmp_path: Path
) -> None:
    """What is known passes all the same."""
    made, failed = await key(store), gw.FailedLogins(Clock())
    unknown = secret.written("gw", secret.new_id(), secret.new_secret())
    async with filtering(store, tmp_path, failed=failed) as filter_:
        assert await principal(filter_, unknown) == gw.ANONYMOUS
        failed.count("10.1.2.3", 1)
        later = await key(store)
        for presented in (unknown, later["key"], secret.written("gw", made["id"], "x" * 43)):
            refusal = await refused(filter_, presented)
            assert (refusal.status, refusal.code) == (429, "too_many_failed_logins")
        assert (await principal(filter_, made["key"])).key_id == made["id"]
        assert (await principal(filter_, later["key"], peer="10.1.2.4")).key_id == later["id"]


@pytest.mark.parametrize(
    "form",
    [
        "{id}_{secret}",
        "_{id}_{secret}",
        "GW_{id}_{secret}",
        "4u_{id}_{secret}",
        "gw-{id}_{secret}",
        "gw_{id}-{secret}",
        "gw_{id}__{secret}",
        "gw_x_{id}_{secret}",
        "a2345678901234567_{id}_{secret}",
        "gw_{id}_{secret}.",
        "gw_{id}_\udcff{secret}",
        "gw_{id}_" + "\udcff" * 43,
    ],
)
async def test_a_key_in_another_form_is_no_key(store: gw.Store, tmp_path: Path, form: str) -> None:
    """However much of it is right; it is left to those who know other keys."""
    made = await key(store)
    parts = secret.parsed(made["key"])
    assert parts is not None
    async with filtering(store, tmp_path) as filter_:
        for prefix in ("gw", "a", "a-234567890123-6"):
            other = secret.written(prefix, *parts)
            assert (await principal(filter_, other)).key_id == made["id"]
        assert await principal(filter_, form.format(id=parts[0], secret=parts[1])) == gw.ANONYMOUS


async def test_only_a_hash_is_kept_and_the_key_is_shown_once(
    store: gw.Store, tmp_path: Path
) -> None:
    made = await key(store, name="ci")
    async with filtering(store, tmp_path) as filter_:
        assert (await principal(filter_, made["key"])).key_id == made["id"]

    parts = secret.parsed(made["key"])
    assert parts is not None
    again = await Repository(store).keys()
    rows = await store.fetch("SELECT * FROM api_keys")
    on_disk = (tmp_path / FILE).read_text()
    assert "key" not in again[0]
    for text in (json.dumps(again), repr(rows), on_disk):
        assert parts[1] not in text and made["key"] not in text
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


async def test_what_tenant_and_key_allow_is_what_both_allow(
    store: gw.Store, tmp_path: Path
) -> None:
    await tenant(
        store,
        models=["m1", "m2", "fast"],
        providers=["p1", "p2"],
        regions=["eu", "us-east"],
        renamed={"fast": "m9"},
        limits={"requests_per_minute": 0, "burst_size": 3},
    )
    made = await key(
        store,
        tenant="acme",
        role="operator",
        models=["m2", "m3", "fast"],
        regions=["eu-west", "us"],
        limits={"tokens_per_minute": 100, "max_concurrent": 2},
    )

    async with filtering(store, tmp_path) as filter_:
        found = await principal(filter_, made["key"])

    assert (found.tenant, found.role) == ("acme", "operator")
    assert found.models == {"m2", "fast", "m9"}
    assert found.providers == {"p1", "p2"}
    assert found.regions == {"eu-west", "us-east"}
    assert found.renamed == {"fast": "m9"}
    assert found.limits == (
        gw.Limit("tenant", "requests", 0, 3),
        gw.Limit("key", "tokens", 100),
        gw.Limit("key", "concurrency", 2),
    )


async def test_budgets_of_tenant_and_key_go_with_the_caller(
    store: gw.Store, tmp_path: Path
) -> None:
    await tenant(store)
    made = await key(store, tenant="acme")
    for number, (level, owner) in enumerate(
        [("tenant", "acme"), ("key", made["id"]), ("tenant", "other")]
    ):
        await store.execute(
            "INSERT INTO budgets VALUES (:id, :level, :owner, NULL, 5, NULL, 'day', 'UTC', "
            "0, 0, NULL, 1, 'usd')",
            {"id": f"b{number}", "level": level, "owner": owner},
        )

    async with filtering(store, tmp_path) as filter_:
        found = await principal(filter_, made["key"])

    assert [each.id for each in found.budgets] == ["b0", "b1"]


@pytest.mark.parametrize(
    ("document", "where", "status", "code"),
    [
        ({"addresses": ["10.1.0.0/16"]}, {"peer": "10.2.0.1"}, 403, "address_not_allowed"),
        ({"addresses": ["2001:db8::/32"]}, {"peer": "10.2.0.1"}, 403, "address_not_allowed"),
        ({"addresses": []}, {}, 403, "address_not_allowed"),
        ({"addresses": ["10.0.0.0/8"]}, {"peer": ""}, 403, "address_not_allowed"),
        ({"endpoints": ["/v1/embeddings"]}, {}, 403, "endpoint_not_allowed"),
        ({"endpoints": ["/v1/chat*"]}, {"path": "/v1/embeddings"}, 403, "endpoint_not_allowed"),
        ({"expires_at": "2027-02-01T00:00:00Z"}, {}, 401, "invalid_api_key"),
    ],
)
async def test_a_key_out_of_its_scope_is_refused(
    store: gw.Store,
    tmp_path: Path,
    document: dict[str, Any],
    where: dict[str, Any],
    status: int,
    code: str,
) -> None:
    clock = Clock()
    made = await key(store, clock, **document)
    clock.now += 30 * 86400
    async with filtering(store, tmp_path, clock=clock) as filter_:
        refusal = await refused(filter_, made["key"], **where)

    assert (refusal.status, refusal.code) == (status, code)


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"addresses": ["10.1.0.0/16"]}, {"peer": "::ffff:10.1.9.9"}),
        ({"addresses": ["fe80::/10"]}, {"peer": "fe80::1%eth0"}),
        ({"endpoints": ["/v1/chat/completions"]}, {}),
        ({"endpoints": ["/v1/*"]}, {"path": "/v1/embeddings"}),
    ],
)
async def test_a_key_within_its_scope_passes(
    store: gw.Store, tmp_path: Path, document: dict[str, Any], where: dict[str, Any]
) -> None:
    made = await key(store, **document)
    async with filtering(store, tmp_path) as filter_:
        assert (await principal(filter_, made["key"], **where)).key_id == made["id"]


async def test_what_is_no_stored_key_is_left_to_the_next_filter(
    store: gw.Store, tmp_path: Path
) -> None:
    """Strangers, unknown ids, and a known id with another secret look alike."""
    made = await key(store)
    other = secret.written("gw", made["id"], secret.new_secret())
    unknown = secret.written("gw", secret.new_id(), secret.new_secret())
    async with filtering(store, tmp_path) as filter_:
        for presented in ("sk-of-something-else", "", other, unknown, made["key"][:-1]):
            assert await principal(filter_, presented) == gw.ANONYMOUS


async def test_a_rotated_key_has_two_secrets_until_the_grace_ends(
    store: gw.Store, tmp_path: Path
) -> None:
    clock = Clock()
    made = await key(store, clock)
    repository = Repository(store, clock)
    new = await repository.rotate_key(made["id"], "gw", 60, silent)

    async with filtering(store, tmp_path, clock=clock) as filter_:
        assert (await principal(filter_, made["key"])).key_id == made["id"]
        assert (await principal(filter_, new["key"])).key_id == made["id"]
        clock.now += 60
        assert await principal(filter_, made["key"]) == gw.ANONYMOUS
        assert (await principal(filter_, new["key"])).key_id == made["id"]
    assert new["old_secret_until"] is not None
    assert (await repository.key(made["id"]))["old_secret_until"] is None


async def test_a_revoked_key_is_out_and_stays_out(store: gw.Store, tmp_path: Path) -> None:
    made = await key(store)
    repository = Repository(store)
    await repository.rotate_key(made["id"], "gw", 3600, silent)
    await repository.revoke_key(made["id"], silent)

    with pytest.raises(gw.ConflictError, match="revoked"):
        await repository.rotate_key(made["id"], "gw", 0, silent)
    with pytest.raises(gw.ConflictError, match="revoked"):
        await repository.change_key(made["id"], b'{"name": "x"}', silent)
    async with filtering(store, tmp_path) as filter_:
        assert await principal(filter_, made["key"]) == gw.ANONYMOUS


async def test_the_second_worker_learns_of_a_change_by_news(
    store: gw.Store, tmp_path: Path
) -> None:
    """Looking now and then is switched off, as good as."""
    made = await key(store)
    state = ProcessState()
    async with (
        filtering(store, tmp_path / "1", state=state) as one,
        filtering(store, tmp_path / "2", state=state) as two,
    ):
        for each in (one, two):
            assert (await principal(each, made["key"])).key_id == made["id"]
        await Repository(store).revoke_key(made["id"], silent)
        state.publish(TOPIC, b"changed")
        for each in (one, two):
            await until_refused(each, made["key"])


async def test_without_news_a_change_is_seen_at_the_next_look(
    store: gw.Store, tmp_path: Path
) -> None:
    await tenant(store)
    made = await key(store, tenant="acme")
    async with filtering(store, tmp_path, poll_seconds=0.05) as filter_:
        assert (await principal(filter_, made["key"])).models is None
        await Repository(store).change_tenant("acme", b'{"disabled": true}', silent)
        await until_refused(filter_, made["key"])


async def until_refused(filter_: IdentityFilter, presented: str) -> None:
    async with asyncio.timeout(5):
        while True:
            if isinstance(await filter_.inspect(arrival(presented)), gw.Refusal):
                return
            await asyncio.sleep(0.01)


async def test_a_new_key_works_everywhere_from_its_first_use(
    store: gw.Store, tmp_path: Path
) -> None:
    async with filtering(store, tmp_path) as filter_:
        made = await key(store)
        assert (await principal(filter_, made["key"])).key_id == made["id"]


class Broken:
    """A store that answers as `store` does until it is `down`."""

    def __init__(self, store: gw.Store) -> None:
        self._store = store
        self.down = False
        self.dialect = store.dialect

    async def fetch(self, sql: str, params: gw.SQLParams = gw.NO_PARAMS) -> list[gw.Row]:
        if self.down:
            raise gw.StoreError("The database cannot be used now.")
        return await self._store.fetch(sql, params)


async def test_while_the_store_is_down_known_keys_work_and_others_cannot_be_told(
    store: gw.Store, tmp_path: Path
) -> None:
    made, clock, metrics = await key(store), Clock(), gw.Metrics()
    unknown = secret.written("gw", secret.new_id(), secret.new_secret())
    broken: Any = Broken(store)
    async with filtering(broken, tmp_path, clock=clock, metrics=metrics) as filter_:
        broken.down = True
        clock.now += 100
        for presented in (unknown, unknown, secret.written("gw", made["id"], "x" * 43)):
            with pytest.raises(gw.StoreError) as raised:
                await filter_.inspect(arrival(presented))
            assert raised.value.status == 503 and raised.value.retry_after is not None
        assert (await principal(filter_, made["key"])).key_id == made["id"]
        assert value(metrics, "gateway_filter_identity_age_seconds") == 100
        broken.down = False
        async with asyncio.timeout(5):
            while True:
                if value(metrics, "gateway_filter_identity_age_seconds") == 0:
                    break
                await asyncio.sleep(0.02)
        assert await principal(filter_, unknown) == gw.ANONYMOUS
        assert value(metrics, "gateway_filter_identity_age_seconds") == 0


async def test_a_start_while_the_store_is_down_goes_on_with_the_snapshot(
    store: gw.Store, tmp_path: Path
) -> None:
    await tenant(store, models=["m1"])
    made = await key(store, tenant="acme")
    async with filtering(store, tmp_path):
        pass
    broken: Any = Broken(store)
    broken.down = True

    async with filtering(broken, tmp_path) as filter_:
        assert (await principal(filter_, made["key"])).models == {"m1"}


def value(metrics: gw.Metrics, name: str) -> float:
    (family,) = [each for each in metrics.families() if each.name == name]
    return sum(child.value for child in family.children.values() if isinstance(child, gw.Value))


@pytest.mark.parametrize("content", [b"", b"{}", b"[1", b'{"form": 2}', b"\xff"])
def test_a_snapshot_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert snapshot.load(tmp_path / FILE) is None


async def test_another_database_replaces_all_that_was_known(
    store: gw.Store, tmp_path: Path
) -> None:
    """Even where its version is higher than what is known."""
    made = await key(store)
    async with filtering(store, tmp_path):
        pass
    await store.execute("DELETE FROM api_keys")
    await store.execute("UPDATE identity_version SET realm = 'other', version = version + 5")

    async with filtering(store, tmp_path) as filter_:
        assert await principal(filter_, made["key"]) == gw.ANONYMOUS


async def test_a_deleted_tenant_takes_its_keys_with_it_and_its_name_is_free(
    store: gw.Store, tmp_path: Path
) -> None:
    await tenant(store, models=["m1"])
    made = await key(store, tenant="acme")
    repository = Repository(store)
    with pytest.raises(gw.ConflictError):
        await tenant(store)

    await repository.delete_tenant("acme", silent)
    with pytest.raises(gw.NotFoundError):
        await repository.tenant("acme")
    again = await tenant(store)

    assert "models" not in again
    async with filtering(store, tmp_path) as filter_:
        assert (await refused(filter_, made["key"])).status == 401


async def test_absent_null_and_zero_are_three_things_in_a_change(store: gw.Store) -> None:
    await tenant(store, models=["m1"], limits={"requests_per_minute": 5, "max_concurrent": 7})

    body = b'{"models": null, "limits": {"requests_per_minute": 0, "tokens_per_minute": null}}'
    found = await Repository(store).change_tenant("acme", body, silent)

    assert "models" not in found
    assert found["limits"] == {"requests_per_minute": 0, "max_concurrent": 7}


async def test_a_change_of_a_key_keeps_what_it_does_not_name(store: gw.Store) -> None:
    made = await key(store, name="ci", expires_at="2030-01-01T00:00:00Z", models=["m"])

    found = await Repository(store).change_key(made["id"], b'{"models": ["n"]}', silent)

    assert (found["name"], found["expires_at"], found["models"]) == (
        "ci",
        "2030-01-01T00:00:00+00:00",
        ["n"],
    )


async def test_what_cannot_be_recorded_is_not_done(store: gw.Store) -> None:
    made = await key(store)

    def full() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        await Repository(store).revoke_key(made["id"], full)
    assert (await Repository(store).key(made["id"]))["state"] == "active"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b"[]", "object"),
        (b"{", "JSON"),
        (b'{"id": "Not A Slug"}', r"lower-case letters.* \(id\)"),
        (b'{"id": "a", "colour": 1}', "colour"),
        (b'{"id": "a", "models": "m"}', "models"),
        (b'{"id": "a", "limits": {"requests_per_minute": -1}}', "limits.requests_per_minute"),
        (b'{"id": "a", "limits": {"burst_size": 0}}', "limits.burst_size"),
        (b'{"models": []}', "id"),
    ],
)
def test_a_wrong_field_is_named(body: bytes, names: str) -> None:
    with pytest.raises(gw.MalformedBodyError, match=names):
        decoded(body, NewTenant)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"addresses": ["10.0.0.0/99"]}', "10.0.0.0/99"),
        (b'{"endpoints": ["v1"]}', "v1"),
        (b'{"role": "root"}', "role"),
        (b'{"expires_at": "tomorrow"}', "expires_at"),
        (b'{"expires_at": "2030-01-01T00:00:00"}', "expires_at"),
    ],
)
def test_a_wrong_field_of_a_key_is_named(body: bytes, names: str) -> None:
    with pytest.raises(gw.MalformedBodyError, match=names):
        decoded(body, NewKey)


async def test_a_key_that_has_expired_already_is_not_made(store: gw.Store) -> None:
    with pytest.raises(gw.MalformedBodyError, match="past"):
        await key(store, expires_at="2020-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("regions", "region", "kept"),
    [
        (None, None, True),
        (None, "us", True),
        ({"eu"}, "eu", True),
        ({"eu"}, "eu-west-1", True),
        ({"eu"}, "europe", False),
        ({"eu-west"}, "eu", False),
        ({"eu"}, "us", False),
        ({"eu"}, None, False),
        (set(), "eu", False),
    ],
)
def test_residency_fails_closed(regions: set[str] | None, region: str | None, kept: bool) -> None:
    caller = gw.Principal(regions=None if regions is None else frozenset(regions))
    came = gw.Arrival("r", "POST", "/", "", {}, "", 0.0, caller)
    asked = gw.Asked(came, "m", "chat", False, 1, False, False)

    reason = Residency().keep(asked, gw.Target("p", "m", region=region))

    assert (reason is None) is kept
