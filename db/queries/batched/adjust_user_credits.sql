-- `adjust_user_credits` for many calls at once: all of a user's calls, or none of them.
-- $1 to $8 its parameters, each an array with one element for each call.
-- A row for each call whose amount was added, as `adjust_user_credits` answers it, and `place`, the call's place in the arrays.
-- Nothing is done, and no row answers, for a user one of whose calls is a replay (of another one here, too), or would leave 0 to
-- 2,147,483,647, by the snapshot or by now: `adjust_user_credits` is to judge these one by one.
-- Race-free because accounts are locked, in the order of their ids, and the increment's own condition holds for the balance that it
-- changes. What each call finds and leaves is reckoned from what the increment returns: calls go by their places. Two first attempts
-- under one key meet in the unique constraint (23505: nothing is done for anybody).
WITH call AS (
  SELECT
    *,
    sum(amount) OVER user_calls AS amount_so_far,
    bool_or(kind = 'PURCHASE') OVER user_calls AS purchased_so_far,
    row_number() OVER user_calls AS nth
  FROM
    unnest($1::uuid[], $2::text[], $3::bytea[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::bigint[])
    WITH ORDINALITY AS given (user_id, idempotency_key, request_hash, amount, kind, actor, memo, request_id, place)
  WINDOW user_calls AS (PARTITION BY user_id ORDER BY place ROWS UNBOUNDED PRECEDING)
),

wanted AS (
  SELECT
    user_id,
    sum(amount) AS amount,
    min(amount_so_far) AS amount_min,
    max(amount_so_far) AS amount_max,
    bool_or(kind = 'PURCHASE') AS purchased,
    max(nth) AS calls
  FROM call
  GROUP BY user_id
  HAVING count(DISTINCT idempotency_key) = count(*)
),

account AS (
  SELECT
    users.user_id, wanted.amount, wanted.amount_min, wanted.amount_max, wanted.purchased, wanted.calls
  FROM wanted INNER JOIN users ON wanted.user_id = users.user_id
  WHERE
    users.credits + wanted.amount_min >= 0 AND users.credits + wanted.amount_max <= 2147483647
    AND NOT EXISTS (
      SELECT FROM call INNER JOIN credit_entries AS earlier
        ON call.user_id = earlier.user_id AND call.idempotency_key = earlier.idempotency_key
      WHERE call.user_id = wanted.user_id
    )
  ORDER BY users.user_id
  FOR NO KEY UPDATE OF users
),

adjusted AS (
  UPDATE users SET
    credits = users.credits + account.amount,
    entry_count = users.entry_count + account.calls,
    version = users.version + account.calls,
    first_purchased_at = CASE WHEN account.purchased THEN coalesce(users.first_purchased_at, now()) ELSE users.first_purchased_at END
  FROM account
  WHERE
    users.user_id = account.user_id
    AND users.credits + account.amount_min >= 0 AND users.credits + account.amount_max <= 2147483647
  RETURNING
    users.user_id, users.number, users.name, users.email, users.picture, users.created_at,
    old.first_purchased_at AS first_purchased_before, old.credits AS credits_before, old.version AS version_before,
    old.entry_count AS entry_count_before
),

done AS (
  SELECT
    call.*,
    adjusted.number, adjusted.name, adjusted.email, adjusted.picture, adjusted.created_at,
    CASE
      WHEN call.purchased_so_far THEN coalesce(adjusted.first_purchased_before, now()) ELSE adjusted.first_purchased_before
    END AS first_purchased_at,
    (adjusted.credits_before + call.amount_so_far)::integer AS balance,
    adjusted.version_before + call.nth AS version,
    adjusted.entry_count_before + call.nth AS entry_number
  FROM adjusted INNER JOIN call ON adjusted.user_id = call.user_id
),

entry AS (
  INSERT INTO credit_entries (user_id, number, kind, amount, balance_after, idempotency_key, request_hash, actor, memo, request_id)
  SELECT
    user_id, entry_number, kind, amount, balance, idempotency_key, request_hash, actor, memo, request_id
  FROM done
)

-- Said anew, not RETURNING: to take each row along through the statement would cost more than to make it. (A test compares.)
SELECT
  'adjusted' AS outcome,
  user_id AS user_user_id, number AS user_number, name AS user_name, email AS user_email, picture AS user_picture,
  balance AS user_credits, version AS user_version, first_purchased_at AS user_first_purchased_at,
  created_at AS user_created_at,
  user_id AS entry_user_id, entry_number, kind AS entry_kind, amount AS entry_amount, balance AS entry_balance_after,
  NULL::uuid AS entry_video_id, NULL::integer AS entry_attempt, idempotency_key AS entry_idempotency_key,
  actor AS entry_actor, memo AS entry_memo, now() AS entry_created_at,
  place
FROM done
