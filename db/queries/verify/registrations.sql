-- Users whose registered_id, which orders them, is another's too, or is no UUIDv7.
-- $1 wallet_id (null: all wallets).
WITH ordered AS (
  SELECT user_id, registered_id, count(*) OVER (PARTITION BY registered_id) AS holders
  FROM users
)

SELECT
  user_id AS wallet_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  CASE WHEN holders > 1 THEN 'the registered_id is another user''s too' ELSE 'the registered_id is no UUIDv7' END AS detail
FROM ordered
WHERE
  (holders > 1 OR uuid_extract_version(registered_id) IS DISTINCT FROM 7)
  AND ($1::uuid IS NULL OR user_id = $1)
ORDER BY user_id
