-- Videos one of whose sizes is not that of its content.
-- $1 user_id (null: all users).
WITH measured AS (
  SELECT
    video.user_id, video.id,
    size.name, size.noted, size.bytes
  FROM video_data AS video
  CROSS JOIN
    LATERAL (
      VALUES
      ('script', video.script_bytes, coalesce(octet_length(video.script), 0)),
      ('caption', video.caption_bytes, json_bytes(video.caption)),
      ('images', video.images_bytes, json_bytes(video.images)),
      ('caption_json', video.caption_json_bytes, json_bytes(video.caption_json)),
      ('config', video.config_bytes, json_bytes(video.config))
    ) AS size (name, noted, bytes)
  WHERE $1::uuid IS NULL OR video.user_id = $1
)

SELECT
  user_id,
  id AS video_id,
  NULL::bigint AS number,
  format('%s_bytes is %s, the content has %s', name, noted, bytes) AS detail
FROM measured
WHERE noted IS DISTINCT FROM bytes
ORDER BY user_id, id, name
