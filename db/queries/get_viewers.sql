-- The users with these ids ($1 uuid[]), each with the newest credit entry, if there is one; an unknown id gives no row.
-- Both are of one snapshot, so that the entry's balance_after is the user's credits.
SELECT
  users.*,
  entry.*
FROM users
LEFT JOIN credit_entries AS entry ON users.user_id = entry.user_id AND users.entry_count = entry.number
WHERE users.user_id = any($1::uuid[])
