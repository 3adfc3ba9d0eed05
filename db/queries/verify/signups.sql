-- Sign-up credits that are not the wallet's first entry, as when they were granted twice.
-- $1 wallet_id (null: all wallets).
SELECT
  wallet_id,
  video_id,
  number,
  format('SIGNUP as entry %s', number) AS detail
FROM credit_entries
WHERE kind = 'SIGNUP' AND number <> 1 AND ($1::uuid IS NULL OR wallet_id = $1)
ORDER BY wallet_id, number
