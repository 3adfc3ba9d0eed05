-- The credit entries with these numbers ($1 wallets' ids uuid[], $2 numbers bigint[], pairwise), in any order.
SELECT credit_entries.*
FROM unnest($1::uuid[], $2::bigint[]) AS wanted (wallet_id, number)
INNER JOIN credit_entries ON wanted.wallet_id = credit_entries.wallet_id AND wanted.number = credit_entries.number
