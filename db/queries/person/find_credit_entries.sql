-- Entries for the user $1 user_id that have a memo or a key, and those of any wallet that one of $2 actors wrote.
SELECT
  wallet_id,
  number
FROM credit_entries
WHERE (user_id = $1 AND (memo IS NOT NULL OR NOT is_pseudonym(idempotency_key))) OR actor = any($2)
