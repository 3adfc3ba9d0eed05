-- Videos whose `cost`, which a refund would give back, is not what their present attempt was charged.
-- $1 wallet_id (null: all wallets).
SELECT
  video.wallet_id,
  video.id AS video_id,
  charge.number,
  format('cost is %s, the CHARGE of attempt %s is %s', video.cost, video.attempt, charge.amount) AS detail
FROM video_data AS video
INNER JOIN credit_entries AS charge
  ON video.wallet_id = charge.wallet_id AND video.id = charge.video_id AND video.attempt = charge.attempt AND charge.kind = 'CHARGE'
WHERE -video.cost::bigint IS DISTINCT FROM charge.amount AND ($1::uuid IS NULL OR video.wallet_id = $1)
ORDER BY video.wallet_id, video.id
