-- The users with these ids ($1 uuid[]), each with the newest credit entry, if there is one; an unknown id gives no row.
-- Both are of one snapshot, so that the entry's balance_after is the user's credits.
SELECT
  users.user_id, users.number, users.name, users.email, users.picture, users.credits, users.version, users.first_purchased_at,
  users.created_at,
  entry.user_id AS entry_user_id, entry.number AS entry_number, entry.kind AS entry_kind, entry.amount AS entry_amount,
  entry.balance_after AS entry_balance_after, entry.video_id AS entry_video_id, entry.attempt AS entry_attempt,
  entry.idempotency_key AS entry_idempotency_key, entry.actor AS entry_actor, entry.memo AS entry_memo,
  entry.created_at AS entry_created_at
FROM users
LEFT JOIN credit_entries AS entry ON users.user_id = entry.user_id AND users.entry_count = entry.number
WHERE users.user_id = any($1::uuid[])
