-- Videos whose `event_count`, from which the next event takes its number, is not the number of the newest event.
-- $1 user_id (null: all users).
WITH history AS (
  SELECT
    user_id,
    video_id,
    max(number) AS newest
  FROM video_events
  WHERE $1::uuid IS NULL OR user_id = $1
  GROUP BY user_id, video_id
)

SELECT
  video.user_id,
  video.id AS video_id,
  NULL::bigint AS number,
  format('event_count is %s, the newest event is number %s', video.event_count, coalesce(history.newest, 0)) AS detail
FROM video_data AS video LEFT JOIN history ON video.user_id = history.user_id AND video.id = history.video_id
WHERE video.event_count IS DISTINCT FROM coalesce(history.newest, 0) AND ($1::uuid IS NULL OR video.user_id = $1)
ORDER BY video.user_id, video.id
