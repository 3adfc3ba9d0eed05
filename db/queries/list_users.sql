-- Users, newest first.
-- $1 after and $2 before: ids of registrations, exclusive, the type's ends where there is none; $3 limit.
SELECT user_wallets.*
FROM user_wallets
WHERE user_wallets.registered_id < $1::uuid AND user_wallets.registered_id > $2::uuid
ORDER BY user_wallets.registered_id DESC
LIMIT $3::integer
