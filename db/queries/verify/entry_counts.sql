-- Wallets whose `entry_count`, from which the next entry takes its number, is not the number of the newest entry.
-- $1 wallet_id (null: all wallets).
WITH ledger AS (
  SELECT
    wallet_id,
    max(number) AS newest
  FROM credit_entries
  WHERE $1::uuid IS NULL OR wallet_id = $1
  GROUP BY wallet_id
)

SELECT
  wallets.wallet_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format('entry_count is %s, the newest entry is number %s', wallets.entry_count, coalesce(ledger.newest, 0)) AS detail
FROM wallets LEFT JOIN ledger ON wallets.wallet_id = ledger.wallet_id
WHERE wallets.entry_count IS DISTINCT FROM coalesce(ledger.newest, 0) AND ($1::uuid IS NULL OR wallets.wallet_id = $1)
ORDER BY wallets.wallet_id
