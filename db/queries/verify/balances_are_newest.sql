-- Balances that are not the `balance_after` of the user's newest entry.
-- $1 user_id (null: all users).
WITH newest AS (
  SELECT DISTINCT ON (user_id) user_id, number, balance_after
  FROM credit_entries
  WHERE $1::uuid IS NULL OR user_id = $1
  ORDER BY user_id ASC, number DESC
)

SELECT
  users.user_id,
  NULL::uuid AS video_id,
  newest.number,
  format('credits are %s, balance_after of the newest entry is %s', users.credits, newest.balance_after) AS detail
FROM users INNER JOIN newest ON users.user_id = newest.user_id
WHERE users.credits IS DISTINCT FROM newest.balance_after
ORDER BY users.user_id
