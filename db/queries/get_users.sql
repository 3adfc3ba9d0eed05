-- The users with these ids ($1 uuid[]), in any order; an unknown id gives no row.
SELECT user_wallets.*
FROM user_wallets
WHERE user_wallets.user_id = any($1::uuid[])
