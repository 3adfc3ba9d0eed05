-- Erase the texts of videos that have ended ($1 wallet_ids and $2 ids), and free what their content takes of the wallets' storage.
-- The wallets must be locked; the videos are locked in the order of their ids, as by mutations.
WITH video AS (
  SELECT
    wallet_id,
    id
  FROM erase_video_texts($1, $2)
),

content AS (
  DELETE FROM video_contents
  USING video
  WHERE video_contents.wallet_id = video.wallet_id AND video_contents.video_id = video.id
  RETURNING
    video_contents.wallet_id,
    video_stored_bytes(script_bytes + caption_bytes + images_bytes + caption_json_bytes + config_bytes) - video_stored_bytes(0) AS bytes
),

freed AS (
  UPDATE wallets SET stored_bytes = stored_bytes - content.bytes
  FROM (
    SELECT wallet_id, sum(bytes) AS bytes FROM content
    GROUP BY wallet_id
  ) AS content
  WHERE wallets.wallet_id = content.wallet_id
)

SELECT count(*) FROM video
