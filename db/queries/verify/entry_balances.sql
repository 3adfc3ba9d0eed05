-- Entries whose `balance_after` is not that of the user's entry before plus their amount.
-- $1 wallet_id (null: all wallets).
WITH followed AS (
  SELECT
    wallet_id, number, amount, balance_after,
    lag(balance_after, 1, 0) OVER (PARTITION BY wallet_id ORDER BY number) AS balance_before
  FROM credit_entries
  WHERE $1::uuid IS NULL OR wallet_id = $1
)

SELECT
  wallet_id,
  NULL::uuid AS video_id,
  number,
  format('balance_after is %s, but %s with %s added is %s', balance_after, balance_before, amount, balance_before::bigint + amount) AS detail
FROM followed
WHERE balance_before::bigint + amount IS DISTINCT FROM balance_after
ORDER BY wallet_id, number
