-- Entries that do not continue their user's numbers 1, 2, 3 …: there is a gap before them, or their number is there twice.
-- $1 user_id (null: all users).
WITH followed AS (
  SELECT user_id, number, lag(number, 1, 0::bigint) OVER (PARTITION BY user_id ORDER BY number) AS number_before
  FROM credit_entries
  WHERE $1::uuid IS NULL OR user_id = $1
)

SELECT
  user_id,
  NULL::uuid AS video_id,
  number,
  format('entry %s follows %s', number, coalesce('entry ' || nullif(number_before, 0), 'none')) AS detail
FROM followed
WHERE number <> number_before + 1
ORDER BY user_id, number
