-- Credit entries of each of these wallets ($1 uuid[]), newest first.
-- $2 after and $3 before: numbers, exclusive, the type's ends where there is none; $4 limit for each.
SELECT page.*
FROM unnest($1::uuid[]) AS given (wallet_id)
CROSS JOIN LATERAL (
  SELECT * FROM credit_entries
  WHERE credit_entries.wallet_id = given.wallet_id AND credit_entries.number < $2::bigint AND credit_entries.number > $3::bigint
  ORDER BY credit_entries.number DESC
  LIMIT $4::integer
) AS page
