-- Videos whose idempotency key is not that of the CHARGE of their first attempt, so that a replay would miss one or the other.
-- $1 wallet_id (null: all wallets).
SELECT
  video.wallet_id,
  video.id AS video_id,
  charge.number,
  'the video''s idempotency key is not that of its first CHARGE' AS detail
FROM video_data AS video
INNER JOIN credit_entries AS charge
  ON video.wallet_id = charge.wallet_id AND video.id = charge.video_id AND charge.attempt = 1 AND charge.kind = 'CHARGE'
WHERE video.idempotency_key IS DISTINCT FROM charge.idempotency_key AND ($1::uuid IS NULL OR video.wallet_id = $1)
ORDER BY video.wallet_id, video.id
