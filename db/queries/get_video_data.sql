-- The videos with these ids ($1 wallets' ids uuid[], $2 videos' ids uuid[], pairwise), in any order; an unknown id gives no row.
SELECT video_data.*
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (wallet_id, id)
INNER JOIN video_data ON wanted.wallet_id = video_data.wallet_id AND wanted.id = video_data.id
