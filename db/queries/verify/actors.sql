-- Entries and events that do not say who did it.
-- $1 user_id (null: all users).
SELECT
  user_id,
  video_id,
  number,
  'an entry by nobody' AS detail
FROM credit_entries
WHERE coalesce(actor, '') = '' AND ($1::uuid IS NULL OR user_id = $1)
UNION ALL
SELECT
  user_id,
  video_id,
  number::bigint,
  'an event by nobody'
FROM video_events
WHERE coalesce(actor, '') = '' AND ($1::uuid IS NULL OR user_id = $1)
ORDER BY user_id, video_id, number
