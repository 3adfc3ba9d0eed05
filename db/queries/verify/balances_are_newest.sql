-- Balances that are not the `balance_after` of the wallet's newest entry.
-- $1 wallet_id (null: all wallets).
WITH newest AS (
  SELECT DISTINCT ON (wallet_id) wallet_id, number, balance_after
  FROM credit_entries
  WHERE $1::uuid IS NULL OR wallet_id = $1
  ORDER BY wallet_id ASC, number DESC
)

SELECT
  wallets.wallet_id,
  NULL::uuid AS video_id,
  newest.number,
  format('credits are %s, balance_after of the newest entry is %s', wallets.credits, newest.balance_after) AS detail
FROM wallets INNER JOIN newest ON wallets.wallet_id = newest.wallet_id
WHERE wallets.credits IS DISTINCT FROM newest.balance_after
ORDER BY wallets.wallet_id
