-- Entries of a video that come after a later one's: CHARGE and REFUND of attempt 1 come first, those of attempt 2 next, and so on.
-- $1 user_id (null: all users).
WITH followed AS (
  SELECT
    user_id, video_id, number, kind, attempt,
    lag(kind) OVER earlier AS kind_before,
    lag(attempt) OVER earlier AS attempt_before
  FROM credit_entries
  WHERE kind IN ('CHARGE', 'REFUND') AND ($1::uuid IS NULL OR user_id = $1)
  WINDOW earlier AS (PARTITION BY user_id, video_id ORDER BY number)
)

SELECT
  user_id,
  video_id,
  number,
  format('%s of attempt %s after %s of attempt %s', kind, attempt, kind_before, attempt_before) AS detail
FROM followed
WHERE (attempt, kind) < (attempt_before, kind_before) -- as words too, a REFUND comes after a CHARGE
ORDER BY user_id, video_id, number
