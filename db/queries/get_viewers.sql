-- The users with these ids ($1 uuid[]), each with the newest entry of the user's own wallet, if there is one; an unknown id gives no row.
-- Both are of one snapshot, so that the entry's balance_after is the user's credits.
SELECT
  user_wallets.*,
  entry.*
FROM user_wallets
LEFT JOIN credit_entries AS entry ON user_wallets.user_id = entry.wallet_id AND user_wallets.entry_count = entry.number
WHERE user_wallets.user_id = any($1::uuid[])
