-- Register a user, or keep a registered one's name, email and picture current; the sign-up credits are granted once.
-- $1 user_id, $2 subject, $3 name, $4 email, $5 picture (null: as it was), $6 sign-up credits (0: none), $7 actor, $8 request_id.
-- Always exactly one row: outcome ('registered' or 'replayed'), the user and the SIGNUP entry, if there is one.
-- Race-free because the primary key decides who is first: everyone else takes the conflict's branch, on the newest version of the row,
-- and only a fresh row is granted credits. 'stale': somebody else registered after this snapshot, so the entry is not seen: run it again.
-- A rerun, whose first reply was lost, finds its request id on the user: it answers as the first run did, and leaves a profile alone that
-- somebody may have changed since.
WITH registered AS (
  INSERT INTO users AS present (user_id, subject, name, email, picture, credits, entry_count, request_id, request_ids)
  VALUES ($1, $2, $3, $4, $5, $6, CASE WHEN $6 > 0 THEN 1 ELSE 0 END, $8, ARRAY[$8::bigint])
  ON CONFLICT ON CONSTRAINT users_user_id_once DO UPDATE
    SET
      name = CASE WHEN $8 = any(present.request_ids) THEN present.name ELSE coalesce($3, present.name) END,
      email = CASE WHEN $8 = any(present.request_ids) THEN present.email ELSE coalesce($4, present.email) END,
      picture = CASE WHEN $8 = any(present.request_ids) THEN present.picture ELSE coalesce($5, present.picture) END,
      version = present.version + CASE
        WHEN
          $8 <> all(present.request_ids)
          AND (coalesce($3, present.name), coalesce($4, present.email), coalesce($5, present.picture))
          IS DISTINCT FROM (present.name, present.email, present.picture)
          THEN 1
        ELSE 0
      END,
      request_ids = CASE
        WHEN
          $8 <> all(present.request_ids)
          AND (coalesce($3, present.name), coalesce($4, present.email), coalesce($5, present.picture))
          IS DISTINCT FROM (present.name, present.email, present.picture)
          THEN with_request_id(present.request_ids, $8)
        ELSE present.request_ids
      END
  RETURNING
    old.user_id IS NULL AS fresh, new.request_id AS request_id, new.user_id AS user_id, new.number AS number, new.name AS name,
    new.email AS email, new.picture AS picture, new.credits AS credits, new.version AS version,
    new.first_purchased_at AS first_purchased_at, new.created_at AS created_at
),

entry AS (
  INSERT INTO credit_entries (user_id, number, kind, amount, balance_after, actor, request_id)
  SELECT
    user_id,
    1,
    'SIGNUP',
    credits,
    credits,
    $7,
    $8
  FROM registered
  WHERE fresh AND credits > 0
  RETURNING
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at
),

written AS (
  SELECT * FROM entry
  UNION ALL
  SELECT
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at
  FROM credit_entries
  WHERE user_id = $1 AND number = 1 AND kind = 'SIGNUP'
)

SELECT
  CASE
    WHEN registered.fresh THEN 'registered'
    WHEN NOT EXISTS (
      SELECT FROM users AS seen
      WHERE seen.user_id = $1
    ) THEN 'stale'
    WHEN registered.request_id = $8 THEN 'registered'
    ELSE 'replayed'
  END AS outcome,
  registered.user_id AS user_user_id, registered.number AS user_number, registered.name AS user_name,
  registered.email AS user_email, registered.picture AS user_picture, registered.credits AS user_credits,
  registered.version AS user_version, registered.first_purchased_at AS user_first_purchased_at,
  registered.created_at AS user_created_at, written.user_id AS entry_user_id, written.number AS entry_number,
  written.kind AS entry_kind, written.amount AS entry_amount, written.balance_after AS entry_balance_after,
  written.video_id AS entry_video_id, written.attempt AS entry_attempt,
  written.idempotency_key AS entry_idempotency_key, written.actor AS entry_actor, written.memo AS entry_memo,
  written.created_at AS entry_created_at
FROM registered
LEFT JOIN written ON TRUE
