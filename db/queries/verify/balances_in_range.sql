-- Balances, present ones and those after an entry, that are not 0 to 2,147,483,647.
-- $1 user_id (null: all users).
WITH balances AS (
  SELECT user_id, NULL::bigint AS number, credits, 'credits' AS name FROM users
  UNION ALL
  SELECT user_id, number, balance_after, 'balance_after' FROM credit_entries
)

SELECT
  user_id,
  NULL::uuid AS video_id,
  number,
  format('%s is %s', name, coalesce(credits::text, 'null')) AS detail
FROM balances
WHERE (credits BETWEEN 0 AND 2147483647) IS NOT TRUE AND ($1::uuid IS NULL OR user_id = $1)
ORDER BY user_id, number
