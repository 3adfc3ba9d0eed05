-- Entries that do not continue their wallet's numbers 1, 2, 3 …: there is a gap before them, or their number is there twice.
-- $1 wallet_id (null: all wallets).
WITH followed AS (
  SELECT wallet_id, number, lag(number, 1, 0::bigint) OVER (PARTITION BY wallet_id ORDER BY number) AS number_before
  FROM credit_entries
  WHERE $1::uuid IS NULL OR wallet_id = $1
)

SELECT
  wallet_id,
  NULL::uuid AS video_id,
  number,
  format('entry %s follows %s', number, coalesce('entry ' || nullif(number_before, 0), 'none')) AS detail
FROM followed
WHERE number <> number_before + 1
ORDER BY wallet_id, number
