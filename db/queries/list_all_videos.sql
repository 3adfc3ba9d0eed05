-- Videos of all wallets, newest first.
-- $1 after and $2 before: ids, exclusive, the type's ends where there is none; $3 limit for each; $4 true for the last page's
-- end: the rows nearest `before`, in reverse. Only the branch of that direction is executed.
-- $5 statuses text[] (null: all), $6 trashed (null: either).
SELECT page.*
FROM (
  (
    SELECT * FROM video_data
    WHERE
      ($5::text[] IS NULL OR video_data.status = any($5))
      AND ($6::boolean IS NULL OR (video_data.trashed_at IS NOT NULL) = $6)
      AND NOT $4::boolean
      AND video_data.id < $1::uuid
      AND video_data.id > $2::uuid
    ORDER BY video_data.id DESC
    LIMIT $3::integer
  )
  UNION ALL
  (
    SELECT * FROM video_data
    WHERE
      ($5::text[] IS NULL OR video_data.status = any($5))
      AND ($6::boolean IS NULL OR (video_data.trashed_at IS NOT NULL) = $6)
      AND $4::boolean
      AND video_data.id < $1::uuid
      AND video_data.id > $2::uuid
    ORDER BY video_data.id ASC
    LIMIT $3::integer
  )
) AS page
