-- Attempts that ended in FAILED or CANCELED, as all but the present one must have, and were not refunded; and others that were.
-- $1 user_id (null: all users).
WITH attempts AS (
  SELECT
    user_id,
    video_id,
    attempt,
    max(number) AS number,
    bool_or(kind = 'REFUND') AS refunded
  FROM credit_entries
  WHERE kind IN ('CHARGE', 'REFUND') AND ($1::uuid IS NULL OR user_id = $1)
  GROUP BY user_id, video_id, attempt
)

SELECT
  attempts.user_id,
  attempts.video_id,
  attempts.number,
  format(
    'attempt %s %s refunded, the video is %s in attempt %s',
    attempts.attempt, CASE WHEN attempts.refunded THEN 'was' ELSE 'was not' END, video.status, video.attempt
  ) AS detail
FROM attempts INNER JOIN video_data AS video ON attempts.user_id = video.user_id AND attempts.video_id = video.id
WHERE
  attempts.refunded
  <> (attempts.attempt < video.attempt OR (attempts.attempt = video.attempt AND video.status IN ('FAILED', 'CANCELED')))
ORDER BY attempts.user_id, attempts.number
