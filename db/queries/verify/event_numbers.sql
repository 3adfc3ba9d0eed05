-- Events that do not continue their video's numbers 1, 2, 3 …: there is a gap before them, or their number is there twice.
-- $1 wallet_id (null: all wallets).
WITH followed AS (
  SELECT
    wallet_id, video_id, number,
    lag(number, 1, 0) OVER (PARTITION BY wallet_id, video_id ORDER BY number) AS number_before
  FROM video_events
  WHERE $1::uuid IS NULL OR wallet_id = $1
)

SELECT
  wallet_id,
  video_id,
  number::bigint,
  format('event %s follows %s', number, coalesce('event ' || nullif(number_before, 0), 'none')) AS detail
FROM followed
WHERE number <> number_before::bigint + 1
ORDER BY wallet_id, video_id, number
