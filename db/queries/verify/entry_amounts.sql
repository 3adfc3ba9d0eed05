-- Entries of an unknown kind, or with an amount that their kind cannot have: a CHARGE takes, SIGNUP and REFUND give, none is 0.
-- $1 wallet_id (null: all wallets).
SELECT
  wallet_id,
  video_id,
  number,
  format('%s of %s credits', kind, amount) AS detail
FROM credit_entries
WHERE
  CASE
    WHEN kind = 'CHARGE' THEN amount < 0
    WHEN kind IN ('SIGNUP', 'REFUND') THEN amount > 0
    WHEN kind IN ('PURCHASE', 'REWARD', 'ADJUSTMENT') THEN amount <> 0
  END IS NOT TRUE
  AND ($1::uuid IS NULL OR wallet_id = $1)
ORDER BY wallet_id, number
