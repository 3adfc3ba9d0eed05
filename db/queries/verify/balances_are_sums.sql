-- Balances that are not the sum of the user's entries.
-- $1 user_id (null: all users).
WITH ledger AS (
  SELECT
    user_id,
    sum(amount) AS total
  FROM credit_entries
  WHERE $1::uuid IS NULL OR user_id = $1
  GROUP BY user_id
)

SELECT
  users.user_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format('credits are %s, the entries sum to %s', users.credits, coalesce(ledger.total, 0)) AS detail
FROM users LEFT JOIN ledger ON users.user_id = ledger.user_id
WHERE users.credits IS DISTINCT FROM coalesce(ledger.total, 0) AND ($1::uuid IS NULL OR users.user_id = $1)
ORDER BY users.user_id
