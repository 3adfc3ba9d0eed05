-- Wallets whose version was not raised by each of their entries; only SIGNUP comes with the user, at version 1.
-- $1 wallet_id (null: all wallets).
WITH ledger AS (
  SELECT wallet_id, count(*) FILTER (WHERE kind <> 'SIGNUP') AS changes
  FROM credit_entries
  WHERE $1::uuid IS NULL OR wallet_id = $1
  GROUP BY wallet_id
)

SELECT
  wallets.wallet_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format('version is %s after %s changes of the balance', wallets.version, coalesce(ledger.changes, 0)) AS detail
FROM wallets LEFT JOIN ledger ON wallets.wallet_id = ledger.wallet_id
WHERE (wallets.version > coalesce(ledger.changes, 0)) IS NOT TRUE AND ($1::uuid IS NULL OR wallets.wallet_id = $1)
ORDER BY wallets.wallet_id
