-- Credit entries of each of these wallets ($1 uuid[]) after a number ($2 bigint[], pairwise), oldest first, at most $3 of each.
-- A wallet's numbers have no gaps and are committed in their order, so that a reader that goes on after the last one misses none.
SELECT
  page.*,
  wanted.after
FROM unnest($1::uuid[], $2::bigint[]) AS wanted (wallet_id, after)
CROSS JOIN LATERAL (
  SELECT * FROM credit_entries
  WHERE credit_entries.wallet_id = wanted.wallet_id AND credit_entries.number > wanted.after
  ORDER BY credit_entries.number ASC
  LIMIT $3::integer
) AS page
