-- Refunds that do not give back exactly what their attempt was charged.
-- $1 wallet_id (null: all wallets).
SELECT
  refund.wallet_id,
  refund.video_id,
  refund.number,
  format('REFUND of %s, attempt %s was charged %s', refund.amount, refund.attempt, coalesce((-charge.amount::bigint)::text, 'nothing')) AS detail
FROM credit_entries AS refund
LEFT JOIN credit_entries AS charge
  ON
    refund.wallet_id = charge.wallet_id AND refund.video_id = charge.video_id AND refund.attempt = charge.attempt
    AND charge.kind = 'CHARGE'
WHERE
  refund.kind = 'REFUND' AND refund.amount IS DISTINCT FROM -charge.amount::bigint
  AND ($1::uuid IS NULL OR refund.wallet_id = $1)
ORDER BY refund.wallet_id, refund.number
