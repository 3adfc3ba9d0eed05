-- Videos that do not have exactly one CHARGE for each of their attempts.
-- $1 wallet_id (null: all wallets).
WITH charged AS (
  SELECT
    wallet_id,
    video_id,
    array_agg(attempt ORDER BY attempt) AS attempts,
    count(*) AS charges,
    count(DISTINCT attempt) AS distinct_attempts,
    min(attempt) AS oldest,
    max(attempt) AS newest
  FROM credit_entries
  WHERE kind = 'CHARGE' AND ($1::uuid IS NULL OR wallet_id = $1)
  GROUP BY wallet_id, video_id
)

SELECT
  video.wallet_id,
  video.id AS video_id,
  NULL::bigint AS number,
  format('the present attempt is %s, charged are: %s', video.attempt, coalesce(array_to_string(charged.attempts[:100], ', ', 'null'), 'none')) AS detail
FROM video_data AS video LEFT JOIN charged ON video.wallet_id = charged.wallet_id AND video.id = charged.video_id
WHERE
  (charged.oldest = 1 AND charged.newest = video.attempt AND charged.charges = video.attempt AND charged.distinct_attempts = video.attempt)
  IS NOT TRUE
  AND ($1::uuid IS NULL OR video.wallet_id = $1)
ORDER BY video.wallet_id, video.id
