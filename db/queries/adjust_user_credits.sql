-- Add a signed amount to a user's credits, once per idempotency key.
-- $1 user_id, $2 idempotency_key, $3 request_hash (SHA-256 of the canonical arguments), $4 amount in credits, $5 kind, $6 actor, $7 memo,
-- $8 request_id.
-- Always exactly one row: outcome, the user and the entry as far as they exist. Outcomes in order of precedence:
--   idempotency_key_reused, replayed, user_not_found, stale, insufficient_credits, credits_out_of_range, adjusted.
-- Race-free because the account is locked before it is judged, and changed by an increment of its newest version. Two first attempts
-- under one key meet in the unique constraint (23505: run it again, the answer is a replay). A refusal is final only if no entry was
-- added between this statement's snapshot and its lock; else it is 'stale': run it again.
-- A rerun, whose first reply was lost, finds its request id on the entry and answers as the first run did, with the rows as they are now.
WITH account AS (
  SELECT
    user_id, number, name, email, picture, credits, version, first_purchased_at, created_at, entry_count
  FROM users
  WHERE user_id = $1
  FOR NO KEY UPDATE
),

earlier AS (
  SELECT
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at, request_hash,
    request_id
  FROM credit_entries
  WHERE user_id = $1 AND idempotency_key = $2
),

-- The guard in the increment is for the snapshot's row: PostgreSQL computes that one first, and holds it against the constraints, before
-- it turns to the newest row, which is the locked account's and can bear it. (Were it not so, the trigger would refuse the balance.)
adjusted AS (
  UPDATE users SET
    credits = users.credits + CASE WHEN users.credits::bigint + $4 BETWEEN 0 AND 2147483647 THEN $4::integer ELSE 0 END,
    entry_count = users.entry_count + 1,
    version = users.version + 1,
    first_purchased_at = CASE WHEN $5 = 'PURCHASE' THEN coalesce(users.first_purchased_at, now()) ELSE users.first_purchased_at END
  FROM account
  WHERE
    users.user_id = account.user_id
    AND account.credits::bigint + $4 BETWEEN 0 AND 2147483647
    AND NOT EXISTS (SELECT FROM earlier)
  RETURNING users.credits, users.entry_count, users.version, users.first_purchased_at
),

entry AS (
  INSERT INTO credit_entries (user_id, number, kind, amount, balance_after, idempotency_key, request_hash, actor, memo, request_id)
  SELECT $1, entry_count, $5, $4, credits, $2, $3, $6, $7, $8 FROM adjusted
  RETURNING
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at
),

written AS (
  SELECT * FROM entry
  UNION ALL
  SELECT
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at
  FROM earlier
)

SELECT
  CASE
    WHEN earlier.request_hash <> $3 THEN 'idempotency_key_reused'
    WHEN earlier.request_id = $8 THEN 'adjusted'
    WHEN earlier.number IS NOT NULL THEN 'replayed'
    WHEN written.number IS NOT NULL THEN 'adjusted'
    WHEN account.user_id IS NULL THEN 'user_not_found'
    WHEN account.entry_count <> (
      SELECT seen.entry_count FROM users AS seen
      WHERE seen.user_id = $1
    ) THEN 'stale'
    WHEN account.credits::bigint + $4 < 0 THEN 'insufficient_credits'
    ELSE 'credits_out_of_range'
  END AS outcome,
  account.user_id AS user_user_id, account.number AS user_number, account.name AS user_name,
  account.email AS user_email, account.picture AS user_picture,
  coalesce(adjusted.credits, account.credits) AS user_credits,
  coalesce(adjusted.version, account.version) AS user_version,
  coalesce(adjusted.first_purchased_at, account.first_purchased_at) AS user_first_purchased_at,
  account.created_at AS user_created_at,
  written.user_id AS entry_user_id, written.number AS entry_number, written.kind AS entry_kind,
  written.amount AS entry_amount, written.balance_after AS entry_balance_after, written.video_id AS entry_video_id,
  written.attempt AS entry_attempt, written.idempotency_key AS entry_idempotency_key, written.actor AS entry_actor,
  written.memo AS entry_memo, written.created_at AS entry_created_at
FROM (VALUES (1)) AS always (one)
LEFT JOIN account ON TRUE
LEFT JOIN earlier ON TRUE
LEFT JOIN adjusted ON TRUE
LEFT JOIN written ON TRUE
