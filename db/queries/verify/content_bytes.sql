-- Videos one of whose sizes is not that of its content.
-- $1 wallet_id (null: all wallets).
WITH measured AS (
  SELECT
    content.wallet_id, content.video_id,
    size.name, size.noted, size.bytes
  FROM video_contents AS content
  CROSS JOIN
    LATERAL (
      VALUES
      ('script', content.script_bytes, coalesce(octet_length(content.script), 0)),
      ('caption', content.caption_bytes, json_bytes(content.caption)),
      ('images', content.images_bytes, json_bytes(content.images)),
      ('caption_json', content.caption_json_bytes, json_bytes(content.caption_json)),
      ('config', content.config_bytes, json_bytes(content.config))
    ) AS size (name, noted, bytes)
  WHERE $1::uuid IS NULL OR content.wallet_id = $1
)

SELECT
  wallet_id,
  video_id,
  NULL::bigint AS number,
  format('%s_bytes is %s, the content has %s', name, noted, bytes) AS detail
FROM measured
WHERE noted IS DISTINCT FROM bytes
ORDER BY wallet_id, video_id, name
