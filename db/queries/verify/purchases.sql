-- Users whose `first_purchased_at` is not the time of their first PURCHASE. (A negative one takes a purchase back.)
-- $1 user_id (null: all users).
WITH first AS (
  SELECT DISTINCT ON (user_id) user_id, number, created_at
  FROM credit_entries
  WHERE kind = 'PURCHASE' AND amount > 0 AND ($1::uuid IS NULL OR user_id = $1)
  ORDER BY user_id, number
)

SELECT
  users.user_id,
  NULL::uuid AS video_id,
  first.number,
  format(
    'first_purchased_at is %s, the first PURCHASE %s',
    coalesce(users.first_purchased_at::text, 'not set'), coalesce('was at ' || first.created_at, 'has not been made')
  ) AS detail
FROM users LEFT JOIN first ON users.user_id = first.user_id
WHERE users.first_purchased_at IS DISTINCT FROM first.created_at AND ($1::uuid IS NULL OR users.user_id = $1)
ORDER BY users.user_id
