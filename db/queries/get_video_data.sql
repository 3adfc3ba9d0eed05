-- The videos with these ids ($1 owners' ids uuid[], $2 videos' ids uuid[], pairwise), in any order; an unknown id gives no row.
SELECT video_data.*
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (user_id, id)
INNER JOIN video_data ON wanted.user_id = video_data.user_id AND wanted.id = video_data.id
