-- Entries that do not name a video and an attempt although they are a CHARGE or a REFUND, or name one although they are neither.
-- $1 wallet_id (null: all wallets).
SELECT
  wallet_id,
  video_id,
  number,
  format(
    '%s that %s', kind,
    CASE WHEN kind IN ('CHARGE', 'REFUND') THEN 'does not name a video and an attempt' ELSE 'names a video or an attempt' END
  ) AS detail
FROM credit_entries
WHERE
  ((kind IN ('CHARGE', 'REFUND')) <> (video_id IS NOT NULL) OR (video_id IS NULL) <> (attempt IS NULL))
  AND ($1::uuid IS NULL OR wallet_id = $1)
ORDER BY wallet_id, number
