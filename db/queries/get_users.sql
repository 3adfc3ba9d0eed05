-- The users with these ids ($1 uuid[]), in any order; an unknown id gives no row.
SELECT
  user_id, number, name, email, picture, credits, version, first_purchased_at, created_at
FROM users
WHERE user_id = any($1::uuid[])
