-- Videos whose status and attempt are not those of their newest event.
-- $1 user_id (null: all users).
WITH newest AS (
  SELECT DISTINCT ON (user_id, video_id) user_id, video_id, number, status, attempt
  FROM video_events
  WHERE $1::uuid IS NULL OR user_id = $1
  ORDER BY user_id ASC, video_id ASC, number DESC
)

SELECT
  video.user_id,
  video.id AS video_id,
  newest.number::bigint,
  format(
    'the video is %s in attempt %s, the newest event %s in attempt %s',
    video.status, video.attempt, newest.status, newest.attempt
  ) AS detail
FROM video_data AS video INNER JOIN newest ON video.user_id = newest.user_id AND video.id = newest.video_id
WHERE (video.status, video.attempt) IS DISTINCT FROM (newest.status, newest.attempt)
ORDER BY video.user_id, video.id
