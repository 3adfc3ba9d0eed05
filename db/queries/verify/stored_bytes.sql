-- Users whose `stored_bytes`, which the quota bounds, is not what their videos hold.
-- $1 user_id (null: all users).
WITH held AS (
  SELECT
    user_id,
    sum(video_stored_bytes(script_bytes + caption_bytes + images_bytes + caption_json_bytes + config_bytes)) AS bytes
  FROM video_data
  WHERE $1::uuid IS NULL OR user_id = $1
  GROUP BY user_id
)

SELECT
  users.user_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format('stored_bytes is %s, the videos hold %s', users.stored_bytes, coalesce(held.bytes, 0)) AS detail
FROM users LEFT JOIN held ON users.user_id = held.user_id
WHERE users.stored_bytes IS DISTINCT FROM coalesce(held.bytes, 0) AND ($1::uuid IS NULL OR users.user_id = $1)
ORDER BY users.user_id
