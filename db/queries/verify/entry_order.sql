-- Entries of a video that come after a later one's: CHARGE and REFUND of attempt 1 come first, those of attempt 2 next, and so on.
-- $1 wallet_id (null: all wallets).
WITH followed AS (
  SELECT
    wallet_id, video_id, number, kind, attempt,
    lag(kind) OVER earlier AS kind_before,
    lag(attempt) OVER earlier AS attempt_before
  FROM credit_entries
  WHERE kind IN ('CHARGE', 'REFUND') AND ($1::uuid IS NULL OR wallet_id = $1)
  WINDOW earlier AS (PARTITION BY wallet_id, video_id ORDER BY number)
)

SELECT
  wallet_id,
  video_id,
  number,
  format('%s of attempt %s after %s of attempt %s', kind, attempt, kind_before, attempt_before) AS detail
FROM followed
WHERE (attempt, kind) < (attempt_before, kind_before) -- as words too, a REFUND comes after a CHARGE
ORDER BY wallet_id, video_id, number
