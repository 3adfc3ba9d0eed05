-- The credit entries with these numbers ($1 users' ids uuid[], $2 numbers bigint[], pairwise), in any order.
SELECT credit_entries.*
FROM unnest($1::uuid[], $2::bigint[]) AS wanted (user_id, number)
INNER JOIN credit_entries ON wanted.user_id = credit_entries.user_id AND wanted.number = credit_entries.number
