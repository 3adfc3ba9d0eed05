-- Attempts that were refunded more than once.
-- $1 user_id (null: all users).
SELECT
  user_id,
  video_id,
  max(number) AS number,
  format('attempt %s was refunded %s times', attempt, count(*)) AS detail
FROM credit_entries
WHERE kind = 'REFUND' AND ($1::uuid IS NULL OR user_id = $1)
GROUP BY user_id, video_id, attempt
HAVING count(*) > 1
ORDER BY user_id, video_id, number
