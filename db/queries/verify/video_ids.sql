-- Videos whose id is no UUIDv7: lists, which show the newest first by id, would show them in the wrong place.
-- $1 wallet_id (null: all wallets).
SELECT
  wallet_id,
  id AS video_id,
  NULL::bigint AS number,
  'the video''s id is no UUIDv7' AS detail
FROM video_data
WHERE uuid_extract_version(id) IS DISTINCT FROM 7 AND ($1::uuid IS NULL OR wallet_id = $1)
ORDER BY wallet_id, id
