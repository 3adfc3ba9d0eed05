-- Videos whose progress is not 0 to 100, or not 100 although they are COMPLETED.
-- $1 wallet_id (null: all wallets).
SELECT
  wallet_id,
  id AS video_id,
  NULL::bigint AS number,
  format('%s with a progress of %s', status, render_progress) AS detail
FROM video_data
WHERE
  (render_progress BETWEEN 0 AND 100 AND (status <> 'COMPLETED' OR render_progress = 100)) IS NOT TRUE
  AND ($1::uuid IS NULL OR wallet_id = $1)
ORDER BY wallet_id, id
