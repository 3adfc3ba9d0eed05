-- Videos of all wallets, newest first.
-- $1 after and $2 before: ids, exclusive, the type's ends where there is none; $3 limit; $4 statuses text[] (null: all), $5 trashed
-- (null: either).
SELECT video_data.*
FROM video_data
WHERE
  ($4::text[] IS NULL OR video_data.status = any($4))
  AND ($5::boolean IS NULL OR (video_data.trashed_at IS NOT NULL) = $5)
  AND video_data.id < $1::uuid
  AND video_data.id > $2::uuid
ORDER BY video_data.id DESC
LIMIT $3::integer
