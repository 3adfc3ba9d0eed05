-- Videos whose version is lower than their number of events, each of which raised it by 1 (the first to 1), or which were saved in a
-- version that they have not had.
-- $1 wallet_id (null: all wallets).
WITH history AS (
  SELECT
    wallet_id,
    video_id,
    count(*) AS events
  FROM video_events
  WHERE $1::uuid IS NULL OR wallet_id = $1
  GROUP BY wallet_id, video_id
)

SELECT
  video.wallet_id,
  video.id AS video_id,
  NULL::bigint AS number,
  format('version is %s after %s events, saved in %s', video.version, history.events, video.saved_version) AS detail
FROM video_data AS video INNER JOIN history ON video.wallet_id = history.wallet_id AND video.id = history.video_id
WHERE (video.version >= history.events AND video.saved_version BETWEEN 1 AND video.version) IS NOT TRUE
ORDER BY video.wallet_id, video.id
