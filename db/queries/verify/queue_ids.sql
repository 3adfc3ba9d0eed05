-- Videos without a place in the render queue although they wait in it, with one although they do not, with another's, or with one
-- that is no UUIDv7 and so does not tell when they entered it.
-- $1 wallet_id (null: all wallets).
WITH queued AS (
  SELECT wallet_id, id, status, queue_id, count(*) OVER (PARTITION BY queue_id) AS holders
  FROM video_data
  WHERE status = 'RENDER_QUEUED' OR queue_id IS NOT NULL
)

SELECT
  wallet_id,
  id AS video_id,
  NULL::bigint AS number,
  format(
    '%s with %s', status,
    CASE
      WHEN queue_id IS NULL THEN 'no queue id'
      WHEN holders > 1 THEN 'another video''s queue id'
      WHEN status = 'RENDER_QUEUED' THEN 'a queue id that is no UUIDv7'
      ELSE 'a queue id'
    END
  ) AS detail
FROM queued
WHERE
  (
    status IS DISTINCT FROM 'RENDER_QUEUED' OR queue_id IS NULL OR holders > 1
    OR uuid_extract_version(queue_id) IS DISTINCT FROM 7
  )
  AND ($1::uuid IS NULL OR wallet_id = $1)
ORDER BY wallet_id, id
