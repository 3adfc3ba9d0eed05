-- Entries of an unknown kind, or with an amount that their kind cannot have: a CHARGE takes, SIGNUP and REFUND give, none is 0; or that
-- left something uncovered although they gave, were no adjustment, or did not take everything. (What took nothing is 0, uncovered.)
-- $1 wallet_id (null: all wallets).
SELECT
  wallet_id,
  video_id,
  number,
  format('%s of %s credits%s', kind, amount, CASE WHEN uncovered <> 0 THEN ', ' || uncovered || ' uncovered' END) AS detail
FROM credit_entries
WHERE
  CASE
    WHEN kind = 'CHARGE' THEN amount < 0 AND uncovered = 0
    WHEN kind IN ('SIGNUP', 'REFUND') THEN amount > 0 AND uncovered = 0
    WHEN kind NOT IN ('PURCHASE', 'REWARD', 'ADJUSTMENT') THEN FALSE
    WHEN uncovered = 0 THEN amount <> 0
    ELSE uncovered > 0 AND amount <= 0 AND balance_after = 0
  END IS NOT TRUE
  AND ($1::uuid IS NULL OR wallet_id = $1)
ORDER BY wallet_id, number
