-- Users whose version was not raised by each of their entries; only SIGNUP comes with the user, at version 1.
-- $1 user_id (null: all users).
WITH ledger AS (
  SELECT user_id, count(*) FILTER (WHERE kind <> 'SIGNUP') AS changes
  FROM credit_entries
  WHERE $1::uuid IS NULL OR user_id = $1
  GROUP BY user_id
)

SELECT
  users.user_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format('version is %s after %s changes of the balance', users.version, coalesce(ledger.changes, 0)) AS detail
FROM users LEFT JOIN ledger ON users.user_id = ledger.user_id
WHERE (users.version > coalesce(ledger.changes, 0)) IS NOT TRUE AND ($1::uuid IS NULL OR users.user_id = $1)
ORDER BY users.user_id
