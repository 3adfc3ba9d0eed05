-- Entries for the user $1 user_id that have a memo, a key or a hash, and those of any wallet that one of $2 actors wrote.
SELECT
  wallet_id,
  number
FROM credit_entries
WHERE
  (
    user_id = $1
    AND (memo IS NOT NULL OR NOT is_pseudonym(idempotency_key) OR request_hash <> decode(repeat('00', 32), 'hex'))
  )
  OR actor = any($2)
