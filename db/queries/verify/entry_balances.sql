-- Entries whose `balance_after` is not that of the user's entry before plus their amount.
-- $1 user_id (null: all users).
WITH followed AS (
  SELECT
    user_id, number, amount, balance_after,
    lag(balance_after, 1, 0) OVER (PARTITION BY user_id ORDER BY number) AS balance_before
  FROM credit_entries
  WHERE $1::uuid IS NULL OR user_id = $1
)

SELECT
  user_id,
  NULL::uuid AS video_id,
  number,
  format('balance_after is %s, but %s with %s added is %s', balance_after, balance_before, amount, balance_before::bigint + amount) AS detail
FROM followed
WHERE balance_before::bigint + amount IS DISTINCT FROM balance_after
ORDER BY user_id, number
