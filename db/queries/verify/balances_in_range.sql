-- Balances, present ones and those after an entry, that are not 0 to 2,147,483,647.
-- $1 wallet_id (null: all wallets).
WITH balances AS (
  SELECT wallet_id, NULL::bigint AS number, credits, 'credits' AS name FROM wallets
  UNION ALL
  SELECT wallet_id, number, balance_after, 'balance_after' FROM credit_entries
)

SELECT
  wallet_id,
  NULL::uuid AS video_id,
  number,
  format('%s is %s', name, coalesce(credits::text, 'null')) AS detail
FROM balances
WHERE (credits BETWEEN 0 AND credits_max()) IS NOT TRUE AND ($1::uuid IS NULL OR wallet_id = $1)
ORDER BY wallet_id, number
