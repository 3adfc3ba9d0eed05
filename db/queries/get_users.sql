-- The users with these ids ($1 uuid[]), in any order; an unknown id gives no row.
SELECT users.*
FROM users
WHERE user_id = any($1::uuid[])
