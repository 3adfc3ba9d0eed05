-- Users whose `creations` is not the number of CHARGEs of `creations_day`: of the newest one's day, since the last one of another day.
-- $1 user_id (null: all users).
WITH charge AS (
  SELECT
    user_id, number,
    (created_at AT TIME ZONE 'UTC')::date AS day,
    first_value((created_at AT TIME ZONE 'UTC')::date) OVER (PARTITION BY user_id ORDER BY number DESC) AS newest_day
  FROM credit_entries
  WHERE kind = 'CHARGE' AND ($1::uuid IS NULL OR user_id = $1)
),

marked AS (
  SELECT
    user_id, number, day, newest_day,
    max(CASE WHEN day <> newest_day THEN number END) OVER (PARTITION BY user_id) AS last_of_another_day
  FROM charge
),

counted AS (
  SELECT
    user_id,
    newest_day,
    count(*) AS charges
  FROM marked
  WHERE number > coalesce(last_of_another_day, 0)
  GROUP BY user_id, newest_day
)

SELECT
  users.user_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  CASE
    WHEN (users.creations_day IS NOT DISTINCT FROM counted.newest_day)
      THEN format('creations is %s, the day has %s CHARGEs', users.creations, coalesce(counted.charges, 0))
    ELSE 'creations_day is not that of the newest CHARGE'
  END AS detail
FROM users LEFT JOIN counted ON users.user_id = counted.user_id
WHERE
  (users.creations, users.creations_day) IS DISTINCT FROM (coalesce(counted.charges, 0), counted.newest_day)
  AND ($1::uuid IS NULL OR users.user_id = $1)
ORDER BY users.user_id
