-- Sign-up credits that are not the user's first entry, as when they were granted twice.
-- $1 user_id (null: all users).
SELECT
  user_id,
  video_id,
  number,
  format('SIGNUP as entry %s', number) AS detail
FROM credit_entries
WHERE kind = 'SIGNUP' AND number <> 1 AND ($1::uuid IS NULL OR user_id = $1)
ORDER BY user_id, number
