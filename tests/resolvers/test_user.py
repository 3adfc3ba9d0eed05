"""Users and their credits, through HTTP: one test for each outcome."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from db.database import Database
from db.user import AdjustUserCreditsRow
from db.video_data import CreateVideoDataRow
from resolvers.identity import Identity, Role
from schema.limits import CREDITS_MAX
from schema.node import EntryKey, UserKey, encode_id
from server.process.settings import Settings
from tests.api import MUTATIONS, Api, serving
from tests.race import Account, check_verified

ANN = encode_id(UserKey(Identity("ann", Role.USER).user_id))


async def ledger(database: Database) -> list[tuple[Any, ...]]:
    """Read the whole ledger as (number, kind, amount, balance after, key), in order."""
    query = "SELECT number, kind, amount, balance_after, idempotency_key FROM credit_entries ORDER BY user_id, number"
    return [tuple(record) for record in await database.rows(query)]


async def test_the_first_registration_grants_the_sign_up_credits(api: Api) -> None:
    """The first registration grants the sign-up credits, as the ledger's first entry."""
    registered = await api.mutate("registerUser", name="Ann")
    assert registered["__typename"] == "RegisterUserSuccess"
    assert (registered["user"]["credits"], registered["user"]["name"]) == (10, "Ann")
    assert {"number": 1, "kind": "SIGNUP", "amount": 10, "balanceAfter": 10}.items() <= registered["entry"].items()
    assert {"actor": "USER:ann", "idempotencyKey": None, "attempt": None}.items() <= registered["entry"].items()
    assert registered["replayed"] is False
    assert registered["user"]["id"] == ANN


async def test_registering_again(api: Api, database: Database) -> None:
    """Registering again grants nothing, and returns the current balance with the original entry."""
    first = await api.mutate("registerUser")
    await api.adjust(ANN, -4, "lost a bet")
    again = await api.mutate("registerUser")
    assert again["replayed"] is True
    assert again["entry"] == first["entry"]
    assert again["user"]["credits"] == 6
    assert await ledger(database) == [(1, "SIGNUP", 10, 10, None), (2, "ADJUSTMENT", -4, 6, "lost a bet")]


async def test_registration_keeps_the_profile_current(api: Api) -> None:
    """A later registration updates the given fields and keeps the others; the version rises if anything changed."""
    picture = "https://img.example/ann.png"
    first = await api.mutate("registerUser", name="Ann", email="ann@old.example", picture=picture)
    moved = await api.mutate("registerUser", email="ann@new.example")
    assert moved["user"] == first["user"] | {"email": "ann@new.example", "version": first["user"]["version"] + 1}
    same = await api.mutate("registerUser", name="Ann", picture=picture)
    assert same["user"] == moved["user"]


async def test_registration_clears_what_is_null(api: Api) -> None:
    """Null clears a field of the profile, once; a field that is left out stays."""
    given: dict[str, Any] = {"name": "Ann", "email": "ann@example.com", "picture": "https://img.example/ann.png"}
    first = (await api.mutate("registerUser", **given))["user"]
    for number, name in enumerate(given, start=1):
        cleared = (await api.query(MUTATIONS["registerUser"], input={name: None}))["registerUser"]["user"]
        assert cleared[name] is None
        assert cleared["version"] == first["version"] + number
    assert (await api.mutate("registerUser", name=None))["user"] == cleared


async def test_registering_many_times_at_once_grants_once(api: Api, database: Database) -> None:
    """Of concurrent registrations exactly one is the first; all return its entry."""
    answers = await asyncio.gather(*(api.mutate("registerUser", name=f"Ann {number}") for number in range(20)))
    assert sorted(answer["replayed"] for answer in answers) == [False] + 19 * [True]
    assert {answer["user"]["credits"] for answer in answers} == {10}
    assert {answer["entry"]["id"] for answer in answers} == {answers[0]["entry"]["id"]}
    assert await ledger(database) == [(1, "SIGNUP", 10, 10, None)]


async def test_without_sign_up_credits_nothing_is_granted(dsn: str, settings: Settings, database: Database) -> None:
    """With sign-up credits set to 0, users start with an empty balance and no entry, permanently."""
    async with serving(dsn, replace(settings, signup_credits=0)) as api:
        for replayed in (False, True):
            registered = await api.mutate("registerUser")
            assert (registered["user"]["credits"], registered["entry"]) == (0, None)
            assert registered["replayed"] is replayed
    async with serving(dsn, settings) as api:
        registered = await api.mutate("registerUser")
        assert (registered["user"]["credits"], registered["entry"], registered["replayed"]) == (0, None, True)
        adjusted = await api.adjust(ANN, 3, "first")
        assert adjusted["entry"]["number"] == 1
    assert await ledger(database) == [(1, "ADJUSTMENT", 3, 3, "first")]


async def test_the_viewer_is_null_until_registered(api: Api) -> None:
    """The viewer is null before registration and the caller afterwards, whatever others do."""
    await api.register("bob")
    document = "{ viewer { id credits } }"
    assert await api.query(document) == {"viewer": None}
    await api.register("ann", credits=7)
    assert await api.query(document) == {"viewer": {"id": ANN, "credits": 7}}


@pytest.mark.parametrize("kind", ["PURCHASE", "REWARD", "ADJUSTMENT"])
async def test_an_adjustment_is_an_entry(api: Api, kind: str) -> None:
    """An adjustment changes the balance by its amount, and its entry records actor, memo and key."""
    user_id = await api.register(credits=10)
    adjusted = await api.adjust(user_id, 5, "tx-1", kind, memo="5 for 5 €")
    assert adjusted["__typename"] == "AdjustUserCreditsSuccess"
    assert adjusted["replayed"] is False
    assert (adjusted["user"]["id"], adjusted["user"]["credits"], adjusted["user"]["version"]) == (user_id, 15, 2)
    shown = {"number": 2, "kind": kind, "amount": 5, "balanceAfter": 15, "memo": "5 for 5 €", "attempt": None}
    assert shown.items() <= adjusted["entry"].items()
    assert {"idempotencyKey": "tx-1", "actor": "ADMIN:root"}.items() <= adjusted["entry"].items()


async def test_the_first_purchase_is_remembered(api: Api) -> None:
    """The first PURCHASE sets the time of the first purchase; one taken back does not, and later ones keep it."""
    user_id = await api.register()
    rewarded = await api.adjust(user_id, 1, "reward", "REWARD")
    assert rewarded["user"]["firstPurchasedAt"] is None
    taken_back = await api.adjust(user_id, -1, "tx-0", "PURCHASE")
    assert taken_back["user"]["firstPurchasedAt"] is None
    bought = await api.adjust(user_id, 1, "tx-1", "PURCHASE")
    assert bought["user"]["firstPurchasedAt"] == bought["entry"]["createdAt"]
    more = await api.adjust(user_id, 1, "tx-2", "PURCHASE")
    assert more["user"]["firstPurchasedAt"] == bought["user"]["firstPurchasedAt"]


@pytest.mark.parametrize(("credits", "amount"), [(10, -10), (0, CREDITS_MAX), (1, CREDITS_MAX - 1)])
async def test_the_limits_of_a_balance(api: Api, credits: int, amount: int) -> None:
    """A balance can reach exactly 0 and exactly its maximum."""
    adjusted = await api.adjust(await api.register(credits=credits), amount, "key")
    assert adjusted["user"]["credits"] == adjusted["entry"]["balanceAfter"] == credits + amount


@pytest.mark.parametrize("amount", [-11, -CREDITS_MAX])
async def test_taking_more_than_the_balance_is_refused(api: Api, database: Database, amount: int) -> None:
    """Taking more than the balance changes nothing, reports both numbers, and leaves the key unused."""
    user_id = await api.register(credits=10)
    before = await ledger(database)
    refused = await api.adjust(user_id, amount, "key")
    assert refused["__typename"] == "InsufficientCredits"
    assert refused["code"] == "INSUFFICIENT_CREDITS"
    assert (refused["balance"], refused["required"]) == (10, -amount)
    assert await ledger(database) == before
    await api.adjust(user_id, CREDITS_MAX - 10, "funds")
    allowed = await api.adjust(user_id, amount, "key")
    assert (allowed["user"]["credits"], allowed["replayed"]) == (CREDITS_MAX + amount, False)


@pytest.mark.parametrize("amount", [1, CREDITS_MAX])
async def test_exceeding_the_maximum_balance_is_refused(api: Api, database: Database, amount: int) -> None:
    """Exceeding the maximum changes nothing, reports balance and maximum, and leaves the key unused."""
    user_id = await api.register(credits=CREDITS_MAX)
    before = await ledger(database)
    refused = await api.adjust(user_id, amount, "key")
    assert refused["__typename"] == "CreditsOutOfRange"
    assert refused["code"] == "CREDITS_OUT_OF_RANGE"
    assert (refused["balance"], refused["maximum"]) == (CREDITS_MAX, CREDITS_MAX)
    assert await ledger(database) == before
    await api.adjust(user_id, -amount, "room")
    assert (await api.adjust(user_id, amount, "key"))["user"]["credits"] == CREDITS_MAX


async def test_an_adjustment_happens_once_per_key(api: Api) -> None:
    """Repeating an adjustment changes nothing, and returns the current user with the original entry."""
    user_id = await api.register(credits=10)
    first = await api.adjust(user_id, 5, "tx-1", "PURCHASE", memo="paid")
    await api.adjust(user_id, -3, "other")
    again = await api.adjust(user_id, 5, "tx-1", "PURCHASE", memo="paid")
    assert again["__typename"] == "AdjustUserCreditsSuccess"
    assert again["replayed"] is True
    assert again["entry"] == first["entry"]
    assert (again["user"]["credits"], again["user"]["version"]) == (12, first["user"]["version"] + 1)


@pytest.mark.parametrize("changed", [{"amount": 6}, {"kind": "REWARD"}, {"memo": "other"}, {"memo": None}])
async def test_a_key_belongs_to_its_arguments(api: Api, database: Database, changed: dict[str, Any]) -> None:
    """A used key with another amount, kind or memo is refused and changes nothing."""
    user_id = await api.register()
    arguments: dict[str, Any] = {"amount": 5, "kind": "PURCHASE", "memo": "paid"}
    await api.adjust(user_id, key="tx-1", **arguments)
    before = await ledger(database)
    refused = await api.adjust(user_id, key="tx-1", **(arguments | changed))
    assert refused["__typename"] == "IdempotencyKeyReused"
    assert (refused["code"], refused["idempotencyKey"]) == ("IDEMPOTENCY_KEY_REUSED", "tx-1")
    assert await ledger(database) == before


async def test_a_key_belongs_to_one_user_and_all_mutations(api: Api) -> None:
    """A key that created a video cannot adjust credits; another user's keys are independent."""
    user_id, other_id = await api.register("ann"), await api.register("bob")
    await api.create("key")
    assert (await api.adjust(user_id, -1, "key"))["__typename"] == "IdempotencyKeyReused"
    assert (await api.adjust(other_id, -1, "key"))["user"]["credits"] == 9


@pytest.mark.parametrize("user_id", [ANN, "ann", "", encode_id(EntryKey(Identity("bob", Role.USER).user_id, 1))])
async def test_an_unknown_user_is_not_adjusted(api: Api, user_id: str) -> None:
    """An unknown id, a malformed one and another object's id are all UserNotFound."""
    await api.register("bob")
    for amount in (1, -1):
        refused = await api.adjust(user_id, amount, "key")
        assert (refused["__typename"], refused["code"]) == ("UserNotFound", "USER_NOT_FOUND")


async def test_the_order_of_an_adjustments_refusals(api: Api) -> None:
    """A reused key is refused before a balance out of range, and a replay succeeds whatever the balance."""
    user_id = await api.register(credits=10)
    first = await api.adjust(user_id, -8, "key")
    assert (await api.adjust(user_id, -9, "key"))["__typename"] == "IdempotencyKeyReused"
    assert (await api.adjust(user_id, CREDITS_MAX, "key"))["__typename"] == "IdempotencyKeyReused"
    again = await api.adjust(user_id, -8, "key")
    assert (again["__typename"], again["entry"]) == ("AdjustUserCreditsSuccess", first["entry"])
    filled = await api.adjust(user_id, CREDITS_MAX - 2, "fill")
    assert (await api.adjust(user_id, CREDITS_MAX - 2, "fill"))["entry"] == filled["entry"]


async def test_the_same_payment_in_parallel_counts_once(api: Api, database: Database) -> None:
    """A webhook delivered many times concurrently adds its credits once, and every call gets the same answer."""
    user_id = await api.register(credits=0)
    answers = await asyncio.gather(*(api.adjust(user_id, 50, "tx-1", "PURCHASE") for _ in range(20)))
    assert sorted(answer["replayed"] for answer in answers) == [False] + 19 * [True]
    assert {answer["user"]["credits"] for answer in answers} == {50}
    assert len({answer["entry"]["id"] for answer in answers}) == 1
    assert [row[2] for row in await ledger(database)][-1] == 50


async def test_a_chargeback_takes_what_is_there(api: Api, dsn: str) -> None:
    """With `takeAvailable` an adjustment takes what there is, down to nothing, and notes what was uncovered."""
    user_id = await api.register(credits=5)
    taken = await api.adjust(user_id, -20, "chargeback", "PURCHASE", takeAvailable=True)
    assert (taken["entry"]["amount"], taken["entry"]["uncovered"], taken["entry"]["balanceAfter"]) == (-5, 15, 0)
    assert (taken["user"]["credits"], taken["user"]["firstPurchasedAt"]) == (0, None)
    again = await api.adjust(user_id, -20, "chargeback", "PURCHASE", takeAvailable=True)
    assert again == taken | {"replayed": True}
    assert (await api.adjust(user_id, -20, "chargeback", "PURCHASE"))["__typename"] == "IdempotencyKeyReused"
    nothing = await api.adjust(user_id, -1, "another", takeAvailable=True)
    assert (nothing["entry"]["amount"], nothing["entry"]["uncovered"], nothing["user"]["credits"]) == (0, 1, 0)
    added = await api.adjust(user_id, 8, "bought", "PURCHASE", takeAvailable=True)
    covered = await api.adjust(user_id, -8, "covered", takeAvailable=True)
    assert (added["entry"]["uncovered"], covered["entry"]["uncovered"], covered["user"]["credits"]) == (0, 0, 0)
    await check_verified(dsn)


async def test_chargebacks_meet_creations(database: Database, dsn: str) -> None:
    """Creations and chargebacks of the same moment never take more than there is, and every credit is accounted for."""
    for _ in range(20):
        account = await Account.open(database, 10)
        calls: list[Coroutine[Any, Any, CreateVideoDataRow | AdjustUserCreditsRow]] = [
            *(account.create(f"video {number}") for number in range(8)),
            *(account.adjust(f"chargeback {number}", -6, take_available=True) for number in range(3)),
        ]
        answers = await asyncio.gather(*calls)
        taken = [answer.entry for answer in answers if answer.entry is not None]
        assert -sum(entry.amount for entry in taken) + (await account.wallet()).credits == 10
        assert sum(entry.uncovered - entry.amount for entry in taken if entry.kind == "ADJUSTMENT") == 18
    await check_verified(dsn)
