-- Videos whose status and attempt are not those of their newest event.
-- $1 wallet_id (null: all wallets).
WITH newest AS (
  SELECT DISTINCT ON (wallet_id, video_id) wallet_id, video_id, number, status, attempt
  FROM video_events
  WHERE $1::uuid IS NULL OR wallet_id = $1
  ORDER BY wallet_id ASC, video_id ASC, number DESC
)

SELECT
  video.wallet_id,
  video.id AS video_id,
  newest.number::bigint,
  format(
    'the video is %s in attempt %s, the newest event %s in attempt %s',
    video.status, video.attempt, newest.status, newest.attempt
  ) AS detail
FROM video_data AS video INNER JOIN newest ON video.wallet_id = newest.wallet_id AND video.id = newest.video_id
WHERE (video.status, video.attempt) IS DISTINCT FROM (newest.status, newest.attempt)
ORDER BY video.wallet_id, video.id
