-- Users whose subject is another's too, though it makes their id, or does not have 1 to 255 characters.
-- $1 wallet_id (null: all wallets).
WITH repeated AS (
  SELECT subject
  FROM users
  GROUP BY subject
  HAVING count(*) > 1
)

SELECT
  users.user_id AS wallet_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  CASE WHEN repeated.subject IS NULL THEN 'the subject does not have 1 to 255 characters' ELSE 'the subject is another user''s too' END AS detail
FROM users LEFT JOIN repeated ON users.subject = repeated.subject
WHERE
  (repeated.subject IS NOT NULL OR (char_length(users.subject) BETWEEN 1 AND 255) IS NOT TRUE)
  AND ($1::uuid IS NULL OR users.user_id = $1)
ORDER BY users.user_id
