-- Wallets whose `first_purchased_at` is not the time of their first PURCHASE. (A negative one takes a purchase back.)
-- $1 wallet_id (null: all wallets).
WITH first AS (
  SELECT DISTINCT ON (wallet_id) wallet_id, number, created_at
  FROM credit_entries
  WHERE kind = 'PURCHASE' AND amount > 0 AND ($1::uuid IS NULL OR wallet_id = $1)
  ORDER BY wallet_id, number
)

SELECT
  wallets.wallet_id,
  NULL::uuid AS video_id,
  first.number,
  format(
    'first_purchased_at is %s, the first PURCHASE %s',
    coalesce(wallets.first_purchased_at::text, 'not set'), coalesce('was at ' || first.created_at, 'has not been made')
  ) AS detail
FROM wallets LEFT JOIN first ON wallets.wallet_id = first.wallet_id
WHERE wallets.first_purchased_at IS DISTINCT FROM first.created_at AND ($1::uuid IS NULL OR wallets.wallet_id = $1)
ORDER BY wallets.wallet_id
