-- Everything that is stored about a person: the table's name and the row as JSON text, of the user $1 user_id and the user's own wallet, and
-- in any wallet, of the user's videos with their content and history, and entries for the user; of other rows that one of $2 actors wrote,
-- only what says that.
SELECT
  'users' AS name,
  row_to_json(users)::text AS line
FROM users
WHERE user_id = $1
UNION ALL
SELECT
  'wallets',
  row_to_json(wallets)::text
FROM wallets
WHERE wallet_id = $1
UNION ALL
SELECT
  'video_data',
  row_to_json(video_data)::text
FROM video_data
WHERE user_id = $1
UNION ALL
SELECT
  'video_contents',
  row_to_json(content)::text
FROM video_contents AS content INNER JOIN video_data AS video ON content.wallet_id = video.wallet_id AND content.video_id = video.id
WHERE video.user_id = $1
UNION ALL
SELECT
  'video_events',
  row_to_json(event)::text
FROM video_events AS event INNER JOIN video_data AS video ON event.wallet_id = video.wallet_id AND event.video_id = video.id
WHERE video.user_id = $1
UNION ALL
SELECT
  'video_events',
  json_build_object(
    'wallet_id', event.wallet_id, 'video_id', event.video_id, 'number', event.number, 'actor', event.actor, 'created_at', event.created_at
  )::text
FROM video_events AS event INNER JOIN video_data AS video ON event.wallet_id = video.wallet_id AND event.video_id = video.id
WHERE video.user_id <> $1 AND event.actor = any($2)
UNION ALL
SELECT
  'credit_entries',
  row_to_json(credit_entries)::text
FROM credit_entries
WHERE user_id = $1
UNION ALL
SELECT
  'credit_entries',
  json_build_object('wallet_id', wallet_id, 'number', number, 'actor', actor, 'created_at', created_at)::text
FROM credit_entries
WHERE user_id <> $1 AND actor = any($2)
