-- Events that the lifecycle does not allow after the one before: neither a move within the attempt, nor the retry of an ended one.
-- $1 wallet_id (null: all wallets).
WITH followed AS (
  SELECT
    wallet_id, video_id, number, status, attempt,
    lag(number) OVER earlier AS number_before,
    lag(status) OVER earlier AS status_before,
    lag(attempt) OVER earlier AS attempt_before
  FROM video_events
  WHERE $1::uuid IS NULL OR wallet_id = $1
  WINDOW earlier AS (PARTITION BY wallet_id, video_id ORDER BY number)
)

SELECT
  wallet_id,
  video_id,
  number::bigint,
  format('%s in attempt %s after %s in attempt %s', status, attempt, status_before, attempt_before) AS detail
FROM followed
WHERE
  number_before IS NOT NULL
  AND CASE
    WHEN attempt = attempt_before THEN video_status_may_follow(status_before, status)
    WHEN attempt = attempt_before::bigint + 1 THEN status = 'QUEUED' AND video_status_is_refunded(status_before)
  END IS NOT TRUE
ORDER BY wallet_id, video_id, number
