-- Credit entries of each of these videos ($1 wallets' ids uuid[], $2 videos' ids uuid[], pairwise), newest first.
-- $3 after and $4 before: numbers, exclusive, the type's ends where there is none; $5 limit for each.
-- A video has two entries for each attempt at most, so all of them are read, and then a page is taken. Without MATERIALIZED the planner
-- walks the wallet's whole ledger by number instead, which it takes for as cheap: 2,288 blocks at 47,000 entries, rather than a dozen.
SELECT page.*
FROM unnest($1::uuid[], $2::uuid[]) AS given (wallet_id, video_id)
CROSS JOIN LATERAL (
  WITH entry AS MATERIALIZED (
    SELECT * FROM credit_entries
    WHERE credit_entries.wallet_id = given.wallet_id AND credit_entries.video_id = given.video_id
  )

  SELECT * FROM entry
  WHERE entry.number < $3::bigint AND entry.number > $4::bigint
  ORDER BY entry.number DESC
  LIMIT $5::integer
) AS page
