-- Users, newest first.
-- $1 after and $2 before: ids of registrations, exclusive, the type's ends where there is none; $3 limit for each; $4 true for the last page's
-- end: the rows nearest `before`, in reverse. Only the branch of that direction is executed.
SELECT page.*
FROM (
  (
    SELECT * FROM user_wallets
    WHERE NOT $4::boolean AND user_wallets.registered_id < $1::uuid AND user_wallets.registered_id > $2::uuid
    ORDER BY user_wallets.registered_id DESC
    LIMIT $3::integer
  )
  UNION ALL
  (
    SELECT * FROM user_wallets
    WHERE $4::boolean AND user_wallets.registered_id < $1::uuid AND user_wallets.registered_id > $2::uuid
    ORDER BY user_wallets.registered_id ASC
    LIMIT $3::integer
  )
) AS page
