-- Videos that did not begin QUEUED, in attempt 1.
-- $1 wallet_id (null: all wallets).
SELECT
  wallet_id,
  video_id,
  number::bigint,
  format('the first event is %s in attempt %s', status, attempt) AS detail
FROM video_events
WHERE number = 1 AND (status, attempt) IS DISTINCT FROM ('QUEUED', 1) AND ($1::uuid IS NULL OR wallet_id = $1)
ORDER BY wallet_id, video_id
