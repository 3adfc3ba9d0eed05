-- Users without a wallet; rows whose wallet or user does not exist; and entries, events and content whose video does not exist or is
-- another wallet's.
-- $1 wallet_id (null: all wallets).
SELECT
  users.user_id AS wallet_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  'a user without a wallet' AS detail
FROM users LEFT JOIN wallets ON users.user_id = wallets.wallet_id
WHERE wallets.wallet_id IS NULL AND ($1::uuid IS NULL OR users.user_id = $1)
UNION ALL
SELECT
  video.wallet_id,
  video.id,
  NULL,
  'a video of a wallet that does not exist'
FROM video_data AS video LEFT JOIN wallets ON video.wallet_id = wallets.wallet_id
WHERE wallets.wallet_id IS NULL AND ($1::uuid IS NULL OR video.wallet_id = $1)
UNION ALL
SELECT
  entry.wallet_id,
  entry.video_id,
  entry.number,
  'an entry of a wallet that does not exist'
FROM credit_entries AS entry LEFT JOIN wallets ON entry.wallet_id = wallets.wallet_id
WHERE wallets.wallet_id IS NULL AND ($1::uuid IS NULL OR entry.wallet_id = $1)
UNION ALL
SELECT
  video.wallet_id,
  video.id,
  NULL,
  'a video of a user who does not exist'
FROM video_data AS video LEFT JOIN users ON video.user_id = users.user_id
WHERE users.user_id IS NULL AND ($1::uuid IS NULL OR video.wallet_id = $1)
UNION ALL
SELECT
  entry.wallet_id,
  entry.video_id,
  entry.number,
  'an entry for a user who does not exist'
FROM credit_entries AS entry LEFT JOIN users ON entry.user_id = users.user_id
WHERE users.user_id IS NULL AND ($1::uuid IS NULL OR entry.wallet_id = $1)
UNION ALL
SELECT
  entry.wallet_id,
  entry.video_id,
  entry.number,
  'an entry for another user than the video''s'
FROM credit_entries AS entry INNER JOIN video_data AS video ON entry.wallet_id = video.wallet_id AND entry.video_id = video.id
WHERE entry.user_id IS DISTINCT FROM video.user_id AND ($1::uuid IS NULL OR entry.wallet_id = $1)
UNION ALL
SELECT
  entry.wallet_id,
  entry.video_id,
  entry.number,
  'an entry of a video that the wallet does not have'
FROM credit_entries AS entry LEFT JOIN video_data AS video ON entry.wallet_id = video.wallet_id AND entry.video_id = video.id
WHERE entry.video_id IS NOT NULL AND video.id IS NULL AND ($1::uuid IS NULL OR entry.wallet_id = $1)
UNION ALL
SELECT
  event.wallet_id,
  event.video_id,
  event.number::bigint,
  'an event of a video that the wallet does not have'
FROM video_events AS event LEFT JOIN video_data AS video ON event.wallet_id = video.wallet_id AND event.video_id = video.id
WHERE video.id IS NULL AND ($1::uuid IS NULL OR event.wallet_id = $1)
UNION ALL
SELECT
  content.wallet_id,
  content.video_id,
  NULL,
  'content of a video that the wallet does not have'
FROM video_contents AS content LEFT JOIN video_data AS video ON content.wallet_id = video.wallet_id AND content.video_id = video.id
WHERE video.id IS NULL AND ($1::uuid IS NULL OR content.wallet_id = $1)
ORDER BY wallet_id, video_id, number
