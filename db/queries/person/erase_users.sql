-- Erase the profiles of users ($1 uuid[]), whose subjects become pseudonyms, and close their own wallets, which must be locked.
WITH erased AS (
  UPDATE users SET subject = 'erased:' || user_id, name = NULL, email = NULL, picture = NULL
  WHERE user_id = any($1)
  RETURNING user_id
),

closed AS (
  UPDATE wallets SET closed_at = now(), version = version + 1
  FROM erased
  WHERE wallets.wallet_id = erased.user_id
)

SELECT count(*) FROM erased
