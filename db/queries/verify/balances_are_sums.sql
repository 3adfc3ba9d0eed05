-- Balances that are not the sum of the wallet's entries.
-- $1 wallet_id (null: all wallets).
WITH ledger AS (
  SELECT
    wallet_id,
    sum(amount) AS total
  FROM credit_entries
  WHERE $1::uuid IS NULL OR wallet_id = $1
  GROUP BY wallet_id
)

SELECT
  wallets.wallet_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format('credits are %s, the entries sum to %s', wallets.credits, coalesce(ledger.total, 0)) AS detail
FROM wallets LEFT JOIN ledger ON wallets.wallet_id = ledger.wallet_id
WHERE wallets.credits IS DISTINCT FROM coalesce(ledger.total, 0) AND ($1::uuid IS NULL OR wallets.wallet_id = $1)
ORDER BY wallets.wallet_id
