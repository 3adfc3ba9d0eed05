-- Wallets whose `creations` is not the number of CHARGEs of `creations_day`: of the newest one's day, since the last one of another day.
-- $1 wallet_id (null: all wallets).
WITH charge AS (
  SELECT
    wallet_id, number,
    (created_at AT TIME ZONE 'UTC')::date AS day,
    first_value((created_at AT TIME ZONE 'UTC')::date) OVER (PARTITION BY wallet_id ORDER BY number DESC) AS newest_day
  FROM credit_entries
  WHERE kind = 'CHARGE' AND ($1::uuid IS NULL OR wallet_id = $1)
),

marked AS (
  SELECT
    wallet_id, number, day, newest_day,
    max(CASE WHEN day <> newest_day THEN number END) OVER (PARTITION BY wallet_id) AS last_of_another_day
  FROM charge
),

counted AS (
  SELECT
    wallet_id,
    newest_day,
    count(*) AS charges
  FROM marked
  WHERE number > coalesce(last_of_another_day, 0)
  GROUP BY wallet_id, newest_day
)

SELECT
  wallets.wallet_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  CASE
    WHEN (wallets.creations_day IS NOT DISTINCT FROM counted.newest_day)
      THEN format('creations is %s, the day has %s CHARGEs', wallets.creations, coalesce(counted.charges, 0))
    ELSE 'creations_day is not that of the newest CHARGE'
  END AS detail
FROM wallets LEFT JOIN counted ON wallets.wallet_id = counted.wallet_id
WHERE
  (wallets.creations, wallets.creations_day) IS DISTINCT FROM (coalesce(counted.charges, 0), counted.newest_day)
  AND ($1::uuid IS NULL OR wallets.wallet_id = $1)
ORDER BY wallets.wallet_id
