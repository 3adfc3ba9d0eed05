-- Videos without a place in the render queue although they wait in it, with one although they do not, with another's, or with one
-- that is still to be given out.
-- $1 user_id (null: all users).
WITH numbered AS (
  SELECT user_id, id, status, queue_number, count(*) OVER (PARTITION BY queue_number) AS holders
  FROM video_data
  WHERE status = 'RENDER_QUEUED' OR queue_number IS NOT NULL
)

SELECT
  user_id,
  id AS video_id,
  NULL::bigint AS number,
  format(
    '%s with %s%s', status, coalesce('queue number ' || queue_number, 'no queue number'),
    CASE
      WHEN queue_number IS NULL THEN ''
      WHEN holders > 1 THEN ', as another video'
      WHEN status = 'RENDER_QUEUED' THEN ', which has not been given out yet'
    END
  ) AS detail
FROM numbered
WHERE
  (
    status IS DISTINCT FROM 'RENDER_QUEUED' OR queue_number IS NULL OR holders > 1
    OR queue_number > coalesce(pg_sequence_last_value('video_data_queue_number'), 0)
  )
  AND ($1::uuid IS NULL OR user_id = $1)
ORDER BY user_id, id
