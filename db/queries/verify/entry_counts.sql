-- Users whose `entry_count`, from which the next entry takes its number, is not the number of the newest entry.
-- $1 user_id (null: all users).
WITH ledger AS (
  SELECT
    user_id,
    max(number) AS newest
  FROM credit_entries
  WHERE $1::uuid IS NULL OR user_id = $1
  GROUP BY user_id
)

SELECT
  users.user_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format('entry_count is %s, the newest entry is number %s', users.entry_count, coalesce(ledger.newest, 0)) AS detail
FROM users LEFT JOIN ledger ON users.user_id = ledger.user_id
WHERE users.entry_count IS DISTINCT FROM coalesce(ledger.newest, 0) AND ($1::uuid IS NULL OR users.user_id = $1)
ORDER BY users.user_id
