-- Rows whose user does not exist, and entries, events and content whose video does not exist or is another user's.
-- $1 user_id (null: all users).
SELECT
  video.user_id,
  video.id AS video_id,
  NULL::bigint AS number,
  'a video of a user who does not exist' AS detail
FROM video_data AS video LEFT JOIN users ON video.user_id = users.user_id
WHERE users.user_id IS NULL AND ($1::uuid IS NULL OR video.user_id = $1)
UNION ALL
SELECT
  entry.user_id,
  entry.video_id,
  entry.number,
  'an entry of a user who does not exist'
FROM credit_entries AS entry LEFT JOIN users ON entry.user_id = users.user_id
WHERE users.user_id IS NULL AND ($1::uuid IS NULL OR entry.user_id = $1)
UNION ALL
SELECT
  entry.user_id,
  entry.video_id,
  entry.number,
  'an entry of a video that the user does not have'
FROM credit_entries AS entry LEFT JOIN video_data AS video ON entry.user_id = video.user_id AND entry.video_id = video.id
WHERE entry.video_id IS NOT NULL AND video.id IS NULL AND ($1::uuid IS NULL OR entry.user_id = $1)
UNION ALL
SELECT
  event.user_id,
  event.video_id,
  event.number::bigint,
  'an event of a video that the user does not have'
FROM video_events AS event LEFT JOIN video_data AS video ON event.user_id = video.user_id AND event.video_id = video.id
WHERE video.id IS NULL AND ($1::uuid IS NULL OR event.user_id = $1)
UNION ALL
SELECT
  content.user_id,
  content.video_id,
  NULL,
  'content of a video that the user does not have'
FROM video_contents AS content LEFT JOIN video_data AS video ON content.user_id = video.user_id AND content.video_id = video.id
WHERE video.id IS NULL AND ($1::uuid IS NULL OR content.user_id = $1)
ORDER BY user_id, video_id, number
