-- Entries and events that do not say who did it.
-- $1 wallet_id (null: all wallets).
SELECT
  wallet_id,
  video_id,
  number,
  'an entry by nobody' AS detail
FROM credit_entries
WHERE coalesce(actor, '') = '' AND ($1::uuid IS NULL OR wallet_id = $1)
UNION ALL
SELECT
  wallet_id,
  video_id,
  number::bigint,
  'an event by nobody'
FROM video_events
WHERE coalesce(actor, '') = '' AND ($1::uuid IS NULL OR wallet_id = $1)
ORDER BY wallet_id, video_id, number
