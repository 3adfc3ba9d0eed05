-- Users whose number, which orders them, is another's too, or is still to be given out.
-- $1 user_id (null: all users).
WITH numbered AS (
  SELECT user_id, number, count(*) OVER (PARTITION BY number) AS holders
  FROM users
)

SELECT
  user_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format('user number %s %s', number, CASE WHEN holders > 1 THEN 'is another user''s too' ELSE 'has not been given out yet' END) AS detail
FROM numbered
WHERE
  (holders > 1 OR number > coalesce(pg_sequence_last_value(pg_get_serial_sequence('users', 'number')::regclass), 0))
  AND ($1::uuid IS NULL OR user_id = $1)
ORDER BY user_id
