-- Attempts that were refunded more than once.
-- $1 wallet_id (null: all wallets).
SELECT
  wallet_id,
  video_id,
  max(number) AS number,
  format('attempt %s was refunded %s times', attempt, count(*)) AS detail
FROM credit_entries
WHERE kind = 'REFUND' AND ($1::uuid IS NULL OR wallet_id = $1)
GROUP BY wallet_id, video_id, attempt
HAVING count(*) > 1
ORDER BY wallet_id, video_id, number
