-- The user $1 user_id, unless the profile has been erased already.
SELECT user_id AS wallet_id
FROM users
WHERE user_id = $1 AND (subject <> 'erased:' || user_id OR num_nonnulls(name, email, picture) > 0)
