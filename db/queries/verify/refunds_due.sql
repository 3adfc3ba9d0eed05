-- Attempts that ended in FAILED or CANCELED, as all but the present one must have, and were not refunded; and others that were.
-- $1 wallet_id (null: all wallets).
WITH attempts AS (
  SELECT
    wallet_id,
    video_id,
    attempt,
    max(number) AS number,
    bool_or(kind = 'REFUND') AS refunded
  FROM credit_entries
  WHERE kind IN ('CHARGE', 'REFUND') AND ($1::uuid IS NULL OR wallet_id = $1)
  GROUP BY wallet_id, video_id, attempt
)

SELECT
  attempts.wallet_id,
  attempts.video_id,
  attempts.number,
  format(
    'attempt %s %s refunded, the video is %s in attempt %s',
    attempts.attempt, CASE WHEN attempts.refunded THEN 'was' ELSE 'was not' END, video.status, video.attempt
  ) AS detail
FROM attempts INNER JOIN video_data AS video ON attempts.wallet_id = video.wallet_id AND attempts.video_id = video.id
WHERE
  attempts.refunded
  <> (attempts.attempt < video.attempt OR (attempts.attempt = video.attempt AND video_status_is_refunded(video.status)))
ORDER BY attempts.wallet_id, attempts.number
