-- Users whose `stored_bytes`, which the quota bounds, is not what their videos hold.
-- $1 user_id (null: all users).
WITH held AS (
  SELECT
    video.user_id,
    sum(video_stored_bytes(coalesce(
      content.script_bytes + content.caption_bytes + content.images_bytes + content.caption_json_bytes + content.config_bytes, 0
    ))) AS bytes
  FROM video_data AS video
  LEFT JOIN video_contents AS content ON video.user_id = content.user_id AND video.id = content.video_id
  WHERE $1::uuid IS NULL OR video.user_id = $1
  GROUP BY video.user_id
)

SELECT
  users.user_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format('stored_bytes is %s, the videos hold %s', users.stored_bytes, coalesce(held.bytes, 0)) AS detail
FROM users LEFT JOIN held ON users.user_id = held.user_id
WHERE users.stored_bytes IS DISTINCT FROM coalesce(held.bytes, 0) AND ($1::uuid IS NULL OR users.user_id = $1)
ORDER BY users.user_id
