-- Videos whose version is lower than their number of events, each of which raised it by 1 (the first to 1).
-- $1 user_id (null: all users).
WITH history AS (
  SELECT
    user_id,
    video_id,
    count(*) AS events
  FROM video_events
  WHERE $1::uuid IS NULL OR user_id = $1
  GROUP BY user_id, video_id
)

SELECT
  video.user_id,
  video.id AS video_id,
  NULL::bigint AS number,
  format('version is %s after %s events', video.version, history.events) AS detail
FROM video_data AS video INNER JOIN history ON video.user_id = history.user_id AND video.id = history.video_id
WHERE (video.version >= history.events) IS NOT TRUE
ORDER BY video.user_id, video.id
