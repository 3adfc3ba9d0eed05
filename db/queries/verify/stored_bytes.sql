-- Wallets whose `stored_bytes`, which the quota bounds, is not what their videos hold.
-- $1 wallet_id (null: all wallets).
WITH held AS (
  SELECT
    video.wallet_id,
    sum(video_stored_bytes(coalesce(
      content.script_bytes + content.caption_bytes + content.images_bytes + content.caption_json_bytes + content.config_bytes, 0
    ))) AS bytes
  FROM video_data AS video
  LEFT JOIN video_contents AS content ON video.wallet_id = content.wallet_id AND video.id = content.video_id
  WHERE $1::uuid IS NULL OR video.wallet_id = $1
  GROUP BY video.wallet_id
)

SELECT
  wallets.wallet_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format('stored_bytes is %s, the videos hold %s', wallets.stored_bytes, coalesce(held.bytes, 0)) AS detail
FROM wallets LEFT JOIN held ON wallets.wallet_id = held.wallet_id
WHERE wallets.stored_bytes IS DISTINCT FROM coalesce(held.bytes, 0) AND ($1::uuid IS NULL OR wallets.wallet_id = $1)
ORDER BY wallets.wallet_id
