-- Videos whose `event_count`, from which the next event takes its number, is not the number of the newest event.
-- $1 wallet_id (null: all wallets).
WITH history AS (
  SELECT
    wallet_id,
    video_id,
    max(number) AS newest
  FROM video_events
  WHERE $1::uuid IS NULL OR wallet_id = $1
  GROUP BY wallet_id, video_id
)

SELECT
  video.wallet_id,
  video.id AS video_id,
  NULL::bigint AS number,
  format('event_count is %s, the newest event is number %s', video.event_count, coalesce(history.newest, 0)) AS detail
FROM video_data AS video LEFT JOIN history ON video.wallet_id = history.wallet_id AND video.id = history.video_id
WHERE video.event_count IS DISTINCT FROM coalesce(history.newest, 0) AND ($1::uuid IS NULL OR video.wallet_id = $1)
ORDER BY video.wallet_id, video.id
