"""Everything that can be wrong in a database, and what the verifier must report for it."""

from typing import NamedTuple
from uuid import UUID


class Found(NamedTuple):
    """One broken row, by names that a person can read."""

    invariant: str
    video: str | None = None
    number: int | None = None
    detail: str = ""
    subject: str | None = "ann"


# Ann and Bob have lived the same life (tests/db/test_verify.py tells it). Their entries:
#   1 SIGNUP 10, 2 PURCHASE 20, 3 PURCHASE 5, 4 REWARD 3, 5 ADJUSTMENT -8; at a cost of 1: 6 CHARGE done,
#   7 CHARGE failed, 8 REFUND failed, 9 CHARGE canceled, 10 REFUND canceled, 11 CHARGE retried, 12 REFUND retried;
#   at a cost of 3: 13 CHARGE retried, 14 CHARGE waiting, 15 CHARGE waiting too, 16 CHARGE queued. 17 credits are left.
# Cyd has only signed up, Dan was given nothing, Eve has one video. A video is named by its idempotency key.
SUBJECTS = ["ann", "bob", "cyd", "dan", "eve"]
RENAMED = UUID("6f1f8f1e-6b0c-4a52-9d1b-0d6a3f3f7a11")  # No UUIDv7: what a video is given for an id.

LEDGER = "UPDATE credit_entries SET {} WHERE wallet_id = {{ann}} AND number = {}"
VIDEO = "UPDATE video_data SET {} WHERE id = {{{}}}"
CONTENT = "UPDATE video_contents SET {} WHERE video_id = {{{}}}"
EVENT = "UPDATE video_events SET {} WHERE video_id = {{{}}} AND number = {}"
# A further entry, with a balance that it explains.
FURTHER = """
  UPDATE wallets SET credits = credits + {amount}, entry_count = 17, version = 17 WHERE wallet_id = {{ann}};
  INSERT INTO credit_entries (
    wallet_id, number, kind, amount, balance_after, user_id, video_id, attempt, idempotency_key, request_hash, actor
  )
  VALUES ({{ann}}, 17, {kind}, {amount}, 17 + {amount}, {{ann}}, {video}, {attempt}, {key}, sha256({key}), 'ADMIN:root')
"""
# An entry that was a REFUND and is something else now.
REWARD = "kind = 'REWARD', video_id = NULL, attempt = NULL, idempotency_key = 'other', request_hash = sha256('')"


def further_refund(video: str, attempt: int, amount: int) -> str:
    return FURTHER.format(amount=amount, kind="'REFUND'", video=f"{{{video}}}", attempt=attempt, key="NULL")


# Changes to Ann's rows, and everything that must be found then.
CORRUPTIONS: dict[str, tuple[str, list[Found]]] = {
    "a balance is raised": (
        "UPDATE wallets SET credits = 18 WHERE wallet_id = {ann}",
        [
            Found("balances_are_newest", None, 16, "credits are 18, balance_after of the newest entry is 17"),
            Found("balances_are_sums", None, None, "credits are 18, the entries sum to 17"),
        ],
    ),
    "a balance appears from nothing": (
        "UPDATE wallets SET credits = 5 WHERE wallet_id = {dan}",
        [Found("balances_are_sums", None, None, "credits are 5, the entries sum to 0", "dan")],
    ),
    "a balance is unknown": (
        "UPDATE wallets SET credits = NULL WHERE wallet_id = {ann}",
        [
            Found("balances_are_newest", None, 16, "credits are , balance_after of the newest entry is 17"),
            Found("balances_are_sums", None, None, "credits are , the entries sum to 17"),
            Found("balances_in_range", None, None, "credits is null"),
        ],
    ),
    "a user's numbers are unknown": (
        """
        UPDATE wallets SET entry_count = NULL, version = NULL WHERE wallet_id = {ann};
        UPDATE users SET subject = NULL WHERE user_id = {ann}
        """,
        [
            Found("entry_counts", None, None, "entry_count is , the newest entry is number 16"),
            Found("subjects", None, None, "the subject does not have 1 to 255 characters"),
            Found("wallet_versions", None, None, "version is  after 15 changes of the balance"),
        ],
    ),
    "a video's numbers are unknown": (
        """
        UPDATE video_data
        SET render_progress = NULL, cost = NULL, event_count = NULL, version = NULL, volume_voice = NULL, status = NULL
        WHERE id = {queued}
        """,
        [
            Found("costs", "queued", 16, "cost is , the CHARGE of attempt 1 is -3"),
            Found("event_counts", "queued", None, "event_count is , the newest event is number 1"),
            Found("event_newest", "queued", 1, "the video is  in attempt 1, the newest event QUEUED in attempt 1"),
            Found("progress", "queued", None, " with a progress of "),
            Found("video_parts", "queued", None, "the volume of the voice is not 0 to 1"),
            Found("video_versions", "queued", None, "version is  after 1 events, saved in 2"),
        ],
    ),
    "an entry's numbers are unknown": (
        LEDGER.format("amount = NULL, balance_after = NULL", 16),
        [
            Found("balances_are_newest", None, 16, "credits are 17, balance_after of the newest entry is "),
            Found("balances_are_sums", None, None, "credits are 17, the entries sum to 20"),
            Found("balances_in_range", None, 16, "balance_after is null"),
            Found("costs", "queued", 16, "cost is 3, the CHARGE of attempt 1 is "),
            Found("entry_amounts", "queued", 16, "CHARGE of  credits"),
        ],
    ),
    "amounts are out of this world": (
        LEDGER.format("amount = 2147483647", 4) + ";" + LEDGER.format("amount = -2147483648", 7),
        [
            Found("balances_are_sums", None, None, "credits are 17, the entries sum to 14"),
            Found("costs", "failed", 7, "cost is 1, the CHARGE of attempt 1 is -2147483648"),
            Found("entry_balances", None, 4, "balance_after is 38, but 35 with 2147483647 added is 2147483682"),
            Found("entry_balances", None, 7, "balance_after is 28, but 29 with -2147483648 added is -2147483619"),
            Found("refunds_match", "failed", 8, "REFUND of 1, attempt 1 was charged 2147483648"),
        ],
    ),
    "a balance falls below zero": (
        FURTHER.format(amount=-18, kind="'ADJUSTMENT'", video="NULL", attempt="NULL", key="'penalty'"),
        [
            Found("balances_in_range", None, None, "credits is -1"),
            Found("balances_in_range", None, 17, "balance_after is -1"),
        ],
    ),
    "an amount is changed": (
        LEDGER.format("amount = 4", 4),
        [
            Found("balances_are_sums", None, None, "credits are 17, the entries sum to 18"),
            Found("entry_balances", None, 4, "balance_after is 38, but 35 with 4 added is 39"),
        ],
    ),
    "a balance_after is changed": (
        LEDGER.format("balance_after = 39", 4),
        [
            Found("entry_balances", None, 4, "balance_after is 39, but 35 with 3 added is 38"),
            Found("entry_balances", None, 5, "balance_after is 30, but 39 with -8 added is 31"),
        ],
    ),
    "the newest balance_after is changed": (
        LEDGER.format("balance_after = 18", 16),
        [
            Found("balances_are_newest", None, 16, "credits are 17, balance_after of the newest entry is 18"),
            Found("entry_balances", None, 16, "balance_after is 18, but 20 with -3 added is 17"),
        ],
    ),
    "the first balance_after is not its amount": (
        LEDGER.format("amount = 11", 1),
        [
            Found("balances_are_sums", None, None, "credits are 17, the entries sum to 18"),
            Found("entry_balances", None, 1, "balance_after is 10, but 0 with 11 added is 11"),
        ],
    ),
    "an entry is lost": (
        "DELETE FROM credit_entries WHERE wallet_id = {ann} AND number = 4",
        [
            Found("balances_are_sums", None, None, "credits are 17, the entries sum to 14"),
            Found("entry_balances", None, 5, "balance_after is 30, but 35 with -8 added is 27"),
            Found("entry_numbers", None, 5, "entry 5 follows entry 3"),
        ],
    ),
    "the newest entry is lost": (
        "DELETE FROM credit_entries WHERE wallet_id = {ann} AND number = 16",
        [
            Found("balances_are_newest", None, 15, "credits are 17, balance_after of the newest entry is 20"),
            Found("balances_are_sums", None, None, "credits are 17, the entries sum to 20"),
            Found("charges", "queued", None, "the present attempt is 1, charged are: none"),
            Found("creations", None, None, "creations is 8, the day has 7 CHARGEs"),
            Found("entry_counts", None, None, "entry_count is 16, the newest entry is number 15"),
        ],
    ),
    "an entry is there twice": (
        "INSERT INTO credit_entries SELECT * FROM credit_entries WHERE wallet_id = {ann} AND number = 4",
        [
            Found("balances_are_sums", None, None, "credits are 17, the entries sum to 20"),
            Found("entry_balances", None, 4, "balance_after is 38, but 38 with 3 added is 41"),
            Found("entry_keys", None, 4, "the idempotency key is another entry's too"),
            Found("entry_keys", None, 4, "the idempotency key is another entry's too"),
            Found("entry_numbers", None, 4, "entry 4 follows entry 4"),
            Found("wallet_versions", None, None, "version is 16 after 16 changes of the balance"),
        ],
    ),
    "the numbers begin late": (
        """
          UPDATE credit_entries SET number = 2 WHERE wallet_id = {cyd};
          UPDATE wallets SET entry_count = 2 WHERE wallet_id = {cyd}
        """,
        [
            Found("entry_numbers", None, 2, "entry 2 follows none", "cyd"),
            Found("signups", None, 2, "SIGNUP as entry 2", "cyd"),
        ],
    ),
    "entry_count runs ahead": (
        "UPDATE wallets SET entry_count = 17 WHERE wallet_id = {ann}",
        [Found("entry_counts", None, None, "entry_count is 17, the newest entry is number 16")],
    ),
    "entry_count counts what is not there": (
        "UPDATE wallets SET entry_count = 1 WHERE wallet_id = {dan}",
        [Found("entry_counts", None, None, "entry_count is 1, the newest entry is number 0", "dan")],
    ),
    "an entry that gave left something uncovered": (
        LEDGER.format("uncovered = 2", 4),
        [Found("entry_amounts", None, 4, "REWARD of 3 credits, 2 uncovered")],
    ),
    "an entry that did not take everything left something uncovered": (
        LEDGER.format("uncovered = 2", 5),
        [Found("entry_amounts", None, 5, "ADJUSTMENT of -8 credits, 2 uncovered")],
    ),
    "a charge left something uncovered": (
        LEDGER.format("uncovered = 2", 16),
        [Found("entry_amounts", "queued", 16, "CHARGE of -3 credits, 2 uncovered")],
    ),
    "an entry is of no known kind": (
        LEDGER.format("kind = 'GIFT'", 4),
        [Found("entry_amounts", None, 4, "GIFT of 3 credits")],
    ),
    "a refund takes": (
        LEDGER.format("amount = -1", 8),
        [
            Found("balances_are_sums", None, None, "credits are 17, the entries sum to 15"),
            Found("entry_amounts", "failed", 8, "REFUND of -1 credits"),
            Found("entry_balances", None, 8, "balance_after is 29, but 28 with -1 added is 27"),
            Found("refunds_match", "failed", 8, "REFUND of -1, attempt 1 was charged 1"),
        ],
    ),
    "a charge gives": (
        LEDGER.format("amount = 3", 16),
        [
            Found("balances_are_sums", None, None, "credits are 17, the entries sum to 23"),
            Found("costs", "queued", 16, "cost is 3, the CHARGE of attempt 1 is 3"),
            Found("entry_amounts", "queued", 16, "CHARGE of 3 credits"),
            Found("entry_balances", None, 16, "balance_after is 17, but 20 with 3 added is 23"),
        ],
    ),
    "an entry is for nothing": (
        LEDGER.format("amount = 0, balance_after = 35", 4),
        [
            Found("balances_are_sums", None, None, "credits are 17, the entries sum to 14"),
            Found("entry_amounts", None, 4, "REWARD of 0 credits"),
            Found("entry_balances", None, 5, "balance_after is 30, but 35 with -8 added is 27"),
        ],
    ),
    "sign-up credits are none": (
        """
        UPDATE credit_entries SET amount = 0, balance_after = 0 WHERE wallet_id = {cyd};
        UPDATE wallets SET credits = 0 WHERE wallet_id = {cyd}
        """,
        [Found("entry_amounts", None, 1, "SIGNUP of 0 credits", "cyd")],
    ),
    "a charge is for nothing": (
        """
        UPDATE credit_entries SET amount = 0, balance_after = 20 WHERE wallet_id = {ann} AND number = 16;
        UPDATE wallets SET credits = 20 WHERE wallet_id = {ann};
        UPDATE video_data SET cost = 0 WHERE id = {queued}
        """,
        [Found("entry_amounts", "queued", 16, "CHARGE of 0 credits")],
    ),
    "an idempotency key is lost": (
        LEDGER.format("idempotency_key = NULL, request_hash = NULL", 4),
        [Found("entry_keys", None, 4, "REWARD without an idempotency key")],
    ),
    "sign-up credits have an idempotency key": (
        LEDGER.format("idempotency_key = 'sign-up', request_hash = sha256('')", 1),
        [Found("entry_keys", None, 1, "SIGNUP with an idempotency key")],
    ),
    "an idempotency key is used twice": (
        LEDGER.format("idempotency_key = 'correction'", 4),
        [
            Found("entry_keys", None, 4, "the idempotency key is another entry's too"),
            Found("entry_keys", None, 5, "the idempotency key is another entry's too"),
        ],
    ),
    "an idempotency key is too long": (
        LEDGER.format("idempotency_key = repeat('x', 256)", 4),
        [Found("entry_keys", None, 4, "the idempotency key does not have 1 to 255 characters")],
    ),
    "an idempotency key is empty": (
        LEDGER.format("idempotency_key = ''", 4),
        [Found("entry_keys", None, 4, "the idempotency key does not have 1 to 255 characters")],
    ),
    "a request's hash is lost": (
        LEDGER.format("request_hash = NULL", 4),
        [Found("entry_keys", None, 4, "the idempotency key does not have the SHA-256 of its request")],
    ),
    "a request's hash is cut short": (
        LEDGER.format("request_hash = substr(request_hash, 1, 31)", 4),
        [Found("entry_keys", None, 4, "the idempotency key does not have the SHA-256 of its request")],
    ),
    "a reward names a video": (
        LEDGER.format("video_id = {done}, attempt = 1", 4),
        [Found("entry_videos", "done", 4, "REWARD that names a video or an attempt")],
    ),
    "a charge names no video": (
        LEDGER.format("video_id = NULL, attempt = NULL", 16),
        [
            Found("charges", "queued", None, "the present attempt is 1, charged are: none"),
            Found("entry_videos", None, 16, "CHARGE that does not name a video and an attempt"),
        ],
    ),
    "a charge names no attempt": (
        LEDGER.format("attempt = NULL", 16),
        [
            Found("charges", "queued", None, "the present attempt is 1, charged are: null"),
            Found("entry_videos", "queued", 16, "CHARGE that does not name a video and an attempt"),
        ],
    ),
    "a refund comes before its charge": (
        """
        UPDATE credit_entries AS entry
        SET (kind, amount, balance_after, idempotency_key, request_hash) = (
          SELECT kind, amount, CASE entry.number WHEN 7 THEN 30 ELSE 29 END, idempotency_key, request_hash
          FROM credit_entries AS other WHERE other.wallet_id = {ann} AND other.number = 15 - entry.number
        )
        WHERE wallet_id = {ann} AND number IN (7, 8)
        """,
        [Found("entry_order", "failed", 8, "CHARGE of attempt 1 after REFUND of attempt 1")],
    ),
    "sign-up credits are granted twice": (
        LEDGER.format("kind = 'SIGNUP', idempotency_key = NULL, request_hash = NULL", 4),
        [Found("signups", None, 4, "SIGNUP as entry 4")],
    ),
    "first_purchased_at is forgotten": (
        "UPDATE wallets SET first_purchased_at = NULL WHERE wallet_id = {ann};"
        + LEDGER.format("created_at = '2026-01-02 03:04Z'", 2),
        [
            Found(
                "purchases",
                None,
                2,
                "first_purchased_at is not set, the first PURCHASE was at 2026-01-02 03:04:00+00",
            )
        ],
    ),
    "first_purchased_at is of a later purchase": (
        "UPDATE wallets SET first_purchased_at = '2026-02-02 03:04Z' WHERE wallet_id = {ann};"
        + LEDGER.format("created_at = '2026-01-02 03:04Z'", 2)
        + ";"
        + LEDGER.format("created_at = '2026-02-02 03:04Z'", 3),
        [
            Found(
                "purchases",
                None,
                2,
                "first_purchased_at is 2026-02-02 03:04:00+00, the first PURCHASE was at 2026-01-02 03:04:00+00",
            )
        ],
    ),
    "first_purchased_at is set with no purchase": (
        "UPDATE wallets SET first_purchased_at = '2026-02-02 03:04Z' WHERE wallet_id = {cyd}",
        [
            Found(
                "purchases",
                None,
                None,
                "first_purchased_at is 2026-02-02 03:04:00+00, the first PURCHASE has not been made",
                "cyd",
            )
        ],
    ),
    "a charge is for another attempt": (
        LEDGER.format("attempt = 2", 16),
        [Found("charges", "queued", None, "the present attempt is 1, charged are: 2")],
    ),
    "an attempt is charged twice": (
        LEDGER.format("kind = 'CHARGE', video_id = {done}, attempt = 1", 5),
        [
            Found("charges", "done", None, "the present attempt is 1, charged are: 1, 1"),
            Found("costs", "done", 5, "cost is 1, the CHARGE of attempt 1 is -8"),
            Found("creation_keys", "done", 5, "the video's idempotency key is not that of its first CHARGE"),
            Found("creations", None, None, "creations is 8, the day has 9 CHARGEs"),
        ],
    ),
    "an attempt is begun without a charge": (
        VIDEO.format("attempt = 2", "done"),
        [
            Found("charges", "done", None, "the present attempt is 2, charged are: 1"),
            Found(
                "event_newest",
                "done",
                6,
                "the video is COMPLETED in attempt 2, the newest event COMPLETED in attempt 1",
            ),
            Found("refunds_due", "done", 6, "attempt 1 was not refunded, the video is COMPLETED in attempt 2"),
        ],
    ),
    "an attempt is out of this world": (
        VIDEO.format("attempt = 2147483647", "done") + ";" + EVENT.format("attempt = 2147483647", "done", 5),
        [
            Found("charges", "done", None, "the present attempt is 2147483647, charged are: 1"),
            Found(
                "event_newest",
                "done",
                6,
                "the video is COMPLETED in attempt 2147483647, the newest event COMPLETED in attempt 1",
            ),
            Found("event_transitions", "done", 5, "RENDERING in attempt 2147483647 after RENDER_QUEUED in attempt 1"),
            Found("event_transitions", "done", 6, "COMPLETED in attempt 1 after RENDERING in attempt 2147483647"),
            Found("refunds_due", "done", 6, "attempt 1 was not refunded, the video is COMPLETED in attempt 2147483647"),
        ],
    ),
    "a cost is not what was charged": (
        VIDEO.format("cost = 2", "done"),
        [Found("costs", "done", 6, "cost is 2, the CHARGE of attempt 1 is -1")],
    ),
    "a video has another key than its charge": (
        VIDEO.format("idempotency_key = 'other'", "done"),
        [Found("creation_keys", "done", 6, "the video's idempotency key is not that of its first CHARGE")],
    ),
    "an attempt is refunded twice": (
        further_refund("failed", 1, 1),
        [Found("refunds_once", "failed", 17, "attempt 1 was refunded 2 times")],
    ),
    "a refund gives back too much": (
        LEDGER.format("amount = 2", 10)
        + "; UPDATE credit_entries SET balance_after = balance_after + 1 WHERE wallet_id = {ann} AND number >= 10"
        + "; UPDATE wallets SET credits = credits + 1 WHERE wallet_id = {ann}",
        [Found("refunds_match", "canceled", 10, "REFUND of 2, attempt 1 was charged 1")],
    ),
    "a refund gives back what was never charged": (
        further_refund("retried", 0, 1),
        [
            Found("entry_order", "retried", 17, "REFUND of attempt 0 after CHARGE of attempt 2"),
            Found("refunds_match", "retried", 17, "REFUND of 1, attempt 0 was charged nothing"),
        ],
    ),
    "a completed video is refunded": (
        further_refund("done", 1, 1),
        [Found("refunds_due", "done", 17, "attempt 1 was refunded, the video is COMPLETED in attempt 1")],
    ),
    "a running attempt is refunded": (
        further_refund("retried", 2, 3),
        [Found("refunds_due", "retried", 17, "attempt 2 was refunded, the video is RENDERING in attempt 2")],
    ),
    "an attempt to come is refunded": (
        further_refund("failed", 2, 1),
        [
            Found("refunds_due", "failed", 17, "attempt 2 was refunded, the video is FAILED in attempt 1"),
            Found("refunds_match", "failed", 17, "REFUND of 1, attempt 2 was charged nothing"),
        ],
    ),
    "a failed video is not refunded": (
        LEDGER.format(REWARD, 8),
        [Found("refunds_due", "failed", 7, "attempt 1 was not refunded, the video is FAILED in attempt 1")],
    ),
    "a canceled video is not refunded": (
        LEDGER.format(REWARD, 10),
        [Found("refunds_due", "canceled", 9, "attempt 1 was not refunded, the video is CANCELED in attempt 1")],
    ),
    "an earlier attempt is not refunded": (
        LEDGER.format(REWARD, 12),
        [Found("refunds_due", "retried", 11, "attempt 1 was not refunded, the video is RENDERING in attempt 2")],
    ),
    "a video is failed by hand": (
        VIDEO.format("status = 'FAILED'", "retried"),
        [
            Found(
                "event_newest",
                "retried",
                4,
                "the video is FAILED in attempt 2, the newest event RENDERING in attempt 2",
            ),
            Found("refunds_due", "retried", 13, "attempt 2 was not refunded, the video is FAILED in attempt 2"),
        ],
    ),
    "a wallet is deleted": (
        "DELETE FROM wallets WHERE wallet_id = {eve}",
        [
            Found("owners", None, None, "a user without a wallet", "eve"),
            Found("owners", None, 1, "an entry of a wallet that does not exist", "eve"),
            Found("owners", "only", 2, "an entry of a wallet that does not exist", "eve"),
            Found("owners", "only", None, "a video of a wallet that does not exist", "eve"),
        ],
    ),
    "a user is deleted": (
        "DELETE FROM users WHERE user_id = {eve}",
        [
            Found("owners", None, 1, "an entry for a user who does not exist", "eve"),
            Found("owners", "only", 2, "an entry for a user who does not exist", "eve"),
            Found("owners", "only", None, "a video of a user who does not exist", "eve"),
        ],
    ),
    "a charge is for another user": (
        LEDGER.format("user_id = {bob}", 16),
        [Found("owners", "queued", 16, "an entry for another user than the video's")],
    ),
    "a video is deleted": (
        "DELETE FROM video_data WHERE id = {queued}",
        [
            Found("owners", "queued", None, "content of a video that the wallet does not have"),
            Found("owners", "queued", 1, "an event of a video that the wallet does not have"),
            Found("owners", "queued", 16, "an entry of a video that the wallet does not have"),
            Found("stored_bytes", None, None, "stored_bytes is 458752, the videos hold 393216"),
        ],
    ),
    "a creation is not counted": (
        "UPDATE wallets SET creations = 7 WHERE wallet_id = {ann}",
        [Found("creations", None, None, "creations is 7, the day has 8 CHARGEs")],
    ),
    "creations are counted for another day": (
        "UPDATE wallets SET creations_day = creations_day - 1 WHERE wallet_id = {ann}",
        [Found("creations", None, None, "creations_day is not that of the newest CHARGE")],
    ),
    "the newest charges are of another day": (
        LEDGER.format("created_at = created_at - interval '1 day'", 13),
        [Found("creations", None, None, "creations is 8, the day has 3 CHARGEs")],
    ),
    "creations are counted of a user who has none": (
        "UPDATE wallets SET creations = 1 WHERE wallet_id = {cyd}",
        [Found("creations", None, None, "creations is 1, the day has 0 CHARGEs", "cyd")],
    ),
    "a video's content is not counted": (
        CONTENT.format("script = 'Once upon a time'", "queued"),
        [Found("content_bytes", "queued", None, "script_bytes is 8, the content has 16")],
    ),
    "a large content is not counted": (
        CONTENT.format("script_bytes = 65537, script = repeat('x', 65537)", "queued"),
        [Found("stored_bytes", None, None, "stored_bytes is 458752, the videos hold 524288")],
    ),
    "storage is counted of a user who has none": (
        "UPDATE wallets SET stored_bytes = 65536 WHERE wallet_id = {cyd}",
        [Found("stored_bytes", None, None, "stored_bytes is 65536, the videos hold 0", "cyd")],
    ),
    "a charge is for somebody else's video": (
        LEDGER.format("video_id = {bob's queued}", 16),
        [
            Found("charges", "queued", None, "the present attempt is 1, charged are: none"),
            Found("owners", "bob's queued", 16, "an entry of a video that the wallet does not have"),
        ],
    ),
    "an entry does not say who did it": (
        LEDGER.format("actor = ''", 4),
        [Found("actors", None, 4, "an entry by nobody")],
    ),
    "an event does not say who did it": (
        EVENT.format("actor = ''", "done", 3),
        [Found("actors", "done", 3, "an event by nobody")],
    ),
    "an event is lost": (
        "DELETE FROM video_events WHERE video_id = {done} AND number = 3",
        [Found("event_numbers", "done", 4, "event 4 follows event 2")],
    ),
    "an event is there twice": (
        "INSERT INTO video_events SELECT * FROM video_events WHERE video_id = {done} AND number = 3",
        [
            Found("event_numbers", "done", 3, "event 3 follows event 3"),
            Found("event_transitions", "done", 3, "READY in attempt 1 after READY in attempt 1"),
            Found("video_versions", "done", None, "version is 6 after 7 events, saved in 1"),
        ],
    ),
    "an event's number is out of this world": (
        """
        UPDATE video_events SET number = 2147483647 WHERE video_id = {done} AND number = 6;
        INSERT INTO video_events SELECT * FROM video_events WHERE video_id = {done} AND number = 2147483647;
        UPDATE video_data SET event_count = 2147483647, version = 2147483648 WHERE id = {done}
        """,
        [
            Found("event_numbers", "done", 2147483647, "event 2147483647 follows event 5"),
            Found("event_numbers", "done", 2147483647, "event 2147483647 follows event 2147483647"),
            Found("event_transitions", "done", 2147483647, "COMPLETED in attempt 1 after COMPLETED in attempt 1"),
        ],
    ),
    "the newest event is lost": (
        "DELETE FROM video_events WHERE video_id = {done} AND number = 6",
        [
            Found("event_counts", "done", None, "event_count is 6, the newest event is number 5"),
            Found(
                "event_newest",
                "done",
                5,
                "the video is COMPLETED in attempt 1, the newest event RENDERING in attempt 1",
            ),
        ],
    ),
    "all events are lost": (
        "DELETE FROM video_events WHERE video_id = {done}",
        [Found("event_counts", "done", None, "event_count is 6, the newest event is number 0")],
    ),
    "event_count runs ahead": (
        VIDEO.format("event_count = 7", "done"),
        [Found("event_counts", "done", None, "event_count is 7, the newest event is number 6")],
    ),
    "a video began half-way": (
        EVENT.format("status = 'GENERATING_AUDIO'", "failed", 1),
        [Found("event_first", "failed", 1, "the first event is GENERATING_AUDIO in attempt 1")],
    ),
    "a video began in a later attempt": (
        EVENT.format("attempt = 2", "done", 1),
        [
            Found("event_first", "done", 1, "the first event is QUEUED in attempt 2"),
            Found("event_transitions", "done", 2, "GENERATING_AUDIO in attempt 1 after QUEUED in attempt 2"),
        ],
    ),
    "a status is changed without an event": (
        VIDEO.format("status = 'READY'", "retried"),
        [
            Found(
                "event_newest", "retried", 4, "the video is READY in attempt 2, the newest event RENDERING in attempt 2"
            )
        ],
    ),
    "a status is unknown": (
        VIDEO.format("status = 'PAUSED'", "retried") + ";" + EVENT.format("status = 'PAUSED'", "retried", 4),
        [Found("event_transitions", "retried", 4, "PAUSED in attempt 2 after QUEUED in attempt 2")],
    ),
    "a video went backward": (
        EVENT.format("status = 'RENDERING'", "done", 2),
        [Found("event_transitions", "done", 3, "READY in attempt 1 after RENDERING in attempt 1")],
    ),
    "a video went on after it failed": (
        EVENT.format("status = 'FAILED'", "done", 5),
        [Found("event_transitions", "done", 6, "COMPLETED in attempt 1 after FAILED in attempt 1")],
    ),
    "a video was retried that had not ended": (
        EVENT.format("status = 'READY'", "retried", 2),
        [Found("event_transitions", "retried", 3, "QUEUED in attempt 2 after READY in attempt 1")],
    ),
    "an attempt began half-way": (
        EVENT.format("status = 'READY'", "retried", 3),
        [Found("event_transitions", "retried", 3, "READY in attempt 2 after FAILED in attempt 1")],
    ),
    "an attempt falls": (
        EVENT.format("attempt = 1", "retried", 4),
        [
            Found(
                "event_newest",
                "retried",
                4,
                "the video is RENDERING in attempt 2, the newest event RENDERING in attempt 1",
            ),
            Found("event_transitions", "retried", 4, "RENDERING in attempt 1 after QUEUED in attempt 2"),
        ],
    ),
    "progress is more than all": (
        VIDEO.format("render_progress = 101", "retried"),
        [Found("progress", "retried", None, "RENDERING with a progress of 101")],
    ),
    "progress is less than none": (
        VIDEO.format("render_progress = -1", "retried"),
        [Found("progress", "retried", None, "RENDERING with a progress of -1")],
    ),
    "a video is completed in part": (
        VIDEO.format("render_progress = 99", "done"),
        [Found("progress", "done", None, "COMPLETED with a progress of 99")],
    ),
    "a waiting video has no queue id": (
        VIDEO.format("queue_id = NULL", "waiting"),
        [Found("queue_ids", "waiting", None, "RENDER_QUEUED with no queue id")],
    ),
    "a completed video has a queue id": (
        VIDEO.format("queue_id = uuidv7()", "done"),
        [Found("queue_ids", "done", None, "COMPLETED with a queue id")],
    ),
    "two videos have one queue id": (
        VIDEO.format("queue_id = (SELECT queue_id FROM video_data WHERE id = {waiting too})", "waiting"),
        [
            Found("queue_ids", "waiting", None, "RENDER_QUEUED with another video's queue id"),
            Found("queue_ids", "waiting too", None, "RENDER_QUEUED with another video's queue id"),
        ],
    ),
    "a queue id does not tell its time": (
        VIDEO.format("queue_id = gen_random_uuid()", "waiting"),
        [Found("queue_ids", "waiting", None, "RENDER_QUEUED with a queue id that is no UUIDv7")],
    ),
    "a title is empty": (
        VIDEO.format("title = ''", "done"),
        [Found("video_parts", "done", None, "the title is empty")],
    ),
    "a voice has no name": (
        VIDEO.format("voice_name = NULL", "queued"),
        [Found("video_parts", "queued", None, "a voice has an id and a name, and one of them is missing")],
    ),
    "a music track has no URL": (
        VIDEO.format("music_track_url = NULL", "queued"),
        [Found("video_parts", "queued", None, "a music track has a name and a URL, and one of them is missing")],
    ),
    "the music is too loud": (
        VIDEO.format("volume_background_music = 1.1", "done"),
        [Found("video_parts", "done", None, "the volume of the background music is not 0 to 1")],
    ),
    "the music is quieter than silence": (
        VIDEO.format("volume_background_music = -0.1", "done"),
        [Found("video_parts", "done", None, "the volume of the background music is not 0 to 1")],
    ),
    "the voice is quieter than silence": (
        VIDEO.format("volume_voice = -0.1", "done"),
        [Found("video_parts", "done", None, "the volume of the voice is not 0 to 1")],
    ),
    "the voice is not a number": (
        VIDEO.format("volume_voice = 'NaN'", "done"),
        [Found("video_parts", "done", None, "the volume of the voice is not 0 to 1")],
    ),
    "a video's id is a random one": (
        """
          UPDATE video_data SET id = {renamed} WHERE id = {done};
          UPDATE video_events SET video_id = {renamed} WHERE video_id = {done};
          UPDATE credit_entries SET video_id = {renamed} WHERE video_id = {done}
        """,
        [Found("video_ids", "renamed", None, "the video's id is no UUIDv7")],
    ),
    "a video's version is set back": (
        VIDEO.format("version = 5", "done"),
        [Found("video_versions", "done", None, "version is 5 after 6 events, saved in 1")],
    ),
    "a video was saved in a version to come": (
        VIDEO.format("saved_version = 7", "done"),
        [Found("video_versions", "done", None, "version is 6 after 6 events, saved in 7")],
    ),
    "a wallet's version is set back": (
        "UPDATE wallets SET version = 15 WHERE wallet_id = {ann}",
        [Found("wallet_versions", None, None, "version is 15 after 15 changes of the balance")],
    ),
    "a wallet's version is zero": (
        "UPDATE wallets SET version = 0 WHERE wallet_id = {dan}",
        [Found("wallet_versions", None, None, "version is 0 after 0 changes of the balance", "dan")],
    ),
    "two users have one registered_id": (
        """
        UPDATE users SET registered_id = other.registered_id FROM users AS other
        WHERE other.user_id = {cyd} AND users.user_id = {ann}
        """,
        [
            Found("registrations", None, None, "the registered_id is another user's too", "ann"),
            Found("registrations", None, None, "the registered_id is another user's too", "cyd"),
        ],
    ),
    "a registered_id does not tell its time": (
        "UPDATE users SET registered_id = gen_random_uuid() WHERE user_id = {ann}",
        [Found("registrations", None, None, "the registered_id is no UUIDv7")],
    ),
    "two users have one subject": (
        "UPDATE users SET subject = 'cyd' WHERE user_id = {ann}",
        [
            Found("subjects", None, None, "the subject is another user's too", "ann"),
            Found("subjects", None, None, "the subject is another user's too", "cyd"),
        ],
    ),
    "a subject is too long": (
        "UPDATE users SET subject = repeat('x', 256) WHERE user_id = {ann}",
        [Found("subjects", None, None, "the subject does not have 1 to 255 characters")],
    ),
    "a subject is empty": (
        "UPDATE users SET subject = '' WHERE user_id = {ann}",
        [Found("subjects", None, None, "the subject does not have 1 to 255 characters")],
    ),
}

CHECK = "constraint wallets_sound is not what was migrated, but wallets "
INDEX = "index credit_entries_kind_once is not what was migrated, but "
LEDGERS = "trigger credit_entries_append_only is not what was migrated, but CREATE TRIGGER credit_entries_append_only "
EVENTS = "trigger video_events_append_only is not what was migrated, but CREATE TRIGGER video_events_append_only "
REFUSE = "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
KIND_ONCE = "USING btree (wallet_id, video_id, attempt, kind) WHERE (video_id IS NOT NULL)"
START = (
    "trigger wallets_credits_explained_from_the_start is not what was migrated, but CREATE TRIGGER "
    "wallets_credits_explained_from_the_start AFTER INSERT ON wallets FOR EACH ROW "
)
# Changes to the tables, and everything that must be found then.
DRIFTS: dict[str, tuple[str, list[str]]] = {
    "a constraint is dropped": (
        "ALTER TABLE wallets DROP CONSTRAINT wallets_sound",
        ["constraint wallets_sound is missing"],
    ),
    "a constraint is put back, but not for the rows that there were": (
        """
          ALTER TABLE wallets DROP CONSTRAINT wallets_sound,
          ADD CONSTRAINT wallets_sound CHECK (wallets_sound(credits, entry_count, version)) NOT VALID
        """,
        [f"{CHECK}CHECK (wallets_sound(credits, entry_count, version)) NOT VALID"],
    ),
    "a constraint is put back, but only for show": (
        """
          ALTER TABLE wallets DROP CONSTRAINT wallets_sound,
          ADD CONSTRAINT wallets_sound CHECK (wallets_sound(credits, entry_count, version)) NOT ENFORCED
        """,
        [f"{CHECK}CHECK (wallets_sound(credits, entry_count, version)) NOT ENFORCED"],
    ),
    "a constraint is put back, but with its columns confused": (
        """
          ALTER TABLE wallets DROP CONSTRAINT wallets_sound,
          ADD CONSTRAINT wallets_sound CHECK (wallets_sound(credits, version, version))
        """,
        [f"{CHECK}CHECK (wallets_sound(credits, version, version))"],
    ),
    "a constraint is put back, but allows anything": (
        "ALTER TABLE wallets DROP CONSTRAINT wallets_sound, ADD CONSTRAINT wallets_sound CHECK (TRUE)",
        [f"{CHECK}CHECK (true)"],
    ),
    "a unique index is dropped": (
        "DROP INDEX credit_entries_kind_once",
        ["index credit_entries_kind_once is missing"],
    ),
    "a unique index is no longer unique": (
        "DROP INDEX credit_entries_kind_once; CREATE INDEX credit_entries_kind_once ON credit_entries (video_id)",
        [f"{INDEX}CREATE INDEX credit_entries_kind_once ON credit_entries USING btree (video_id)"],
    ),
    "a unique index was left unfinished": (
        """
          SET allow_system_table_mods = on;
          UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'credit_entries_kind_once'::regclass
        """,
        [f"{INDEX}CREATE UNIQUE INDEX credit_entries_kind_once ON credit_entries {KIND_ONCE} INVALID"],
    ),
    "a column of credits is widened": (
        "ALTER TABLE video_data DROP CONSTRAINT video_data_sound, ALTER cost TYPE bigint",
        [
            "column video_data.cost is not what was migrated, but bigint",
            "constraint video_data_sound is missing",
        ],
    ),
    "an append-only trigger is disabled": (
        "ALTER TABLE credit_entries DISABLE TRIGGER credit_entries_append_only",
        [f"{LEDGERS}BEFORE DELETE OR TRUNCATE ON credit_entries {REFUSE} DISABLED"],
    ),
    "the trigger that lets erasure through alone is dropped": (
        "DROP TRIGGER video_events_erased_only ON video_events",
        ["trigger video_events_erased_only is missing"],
    ),
    "a trigger fires for replicas only": (
        "ALTER TABLE video_events ENABLE REPLICA TRIGGER video_events_append_only",
        [f"{EVENTS}BEFORE DELETE OR TRUNCATE ON video_events {REFUSE} DISABLED"],
    ),
    "a foreign key's triggers are disabled": (
        "ALTER TABLE video_events DISABLE TRIGGER ALL; ALTER TABLE video_events ENABLE TRIGGER USER",
        [
            f"trigger video_events_video_id_exists {name} is not what was migrated, but video_events DISABLED"
            for name in ("RI_FKey_check_ins", "RI_FKey_check_upd")
        ],
    ),
    "no trigger fires at all": (
        "SET session_replication_role = replica",
        ["setting session_replication_role is not what was migrated, but replica"],
    ),
    "a trigger is dropped": (
        "DROP TRIGGER wallets_credits_explained_from_the_start ON wallets",
        ["trigger wallets_credits_explained_from_the_start is missing"],
    ),
    "a trigger lets deletions through": (
        """
          CREATE OR REPLACE TRIGGER credit_entries_append_only BEFORE TRUNCATE ON credit_entries
          FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """,
        [f"{LEDGERS}BEFORE TRUNCATE ON credit_entries {REFUSE}"],
    ),
    "a trigger has a condition": (
        """
          CREATE OR REPLACE TRIGGER wallets_credits_explained_from_the_start AFTER INSERT ON wallets
          FOR EACH ROW WHEN (FALSE) EXECUTE FUNCTION require_explained_credits()
        """,
        [f"{START}WHEN (false) EXECUTE FUNCTION require_explained_credits()"],
    ),
    "a trigger calls something else": (
        """
          CREATE OR REPLACE TRIGGER wallets_credits_explained_from_the_start AFTER INSERT ON wallets
          FOR EACH ROW EXECUTE FUNCTION refuse_change()
        """,
        [f"{START}EXECUTE FUNCTION refuse_change()"],
    ),
    "a trigger's function refuses nothing": (
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        ["function refuse_change is not what was migrated"],
    ),
    "a constraint's function allows anything": (
        """
          CREATE OR REPLACE FUNCTION wallets_sound(credits integer, entry_count bigint, version bigint)
          RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN TRUE; END'
        """,
        ["function wallets_sound is not what was migrated"],
    ),
    "a constraint's function allows whatever has a null": (
        """
          ALTER FUNCTION credit_entries_sound(text, integer, integer, integer, text, text, bigint, bytea, integer, uuid)
          RETURNS NULL ON NULL INPUT
        """,
        ["function credit_entries_sound is not what was migrated"],
    ),
    "the lifecycle's function allows a completed video to fail": (
        """
          CREATE OR REPLACE FUNCTION video_status_is_final(status text) RETURNS boolean IMMUTABLE LANGUAGE sql
          RETURN status IN ('FAILED', 'CANCELED')
        """,
        ["function video_status_is_final is not what was migrated"],
    ),
    "a mutation's function charges nothing": (
        """
          DO $$ BEGIN
            EXECUTE replace(pg_get_functiondef('create_video_data'::regproc), '- total.cost', '');
          END $$
        """,
        ["function create_video_data is missing or not what this code ships"],
    ),
    "a mutation's function takes its arguments in another order": (
        """
          DO $$ DECLARE original text := pg_get_functiondef('trash_video_data'::regproc); BEGIN
            DROP FUNCTION trash_video_data;
            EXECUTE replace(original, 'wallet_id_of uuid[], video_id_of uuid[]',
              'video_id_of uuid[], wallet_id_of uuid[]');
          END $$
        """,
        ["function trash_video_data is missing or not what this code ships"],
    ),
    "a mutation's function is dropped": (
        "DROP FUNCTION register_user",
        ["function register_user is missing or not what this code ships"],
    ),
}
