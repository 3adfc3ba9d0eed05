-- Videos of each of these wallets ($1 uuid[]), newest first.
-- $2 after and $3 before: ids, exclusive, the type's ends where there is none; $4 limit for each; $5 true for the last page's
-- end: the rows nearest `before`, in reverse. Only the branch of that direction is executed.
-- $6 statuses text[] (null: all), $7 trashed (null: either).
SELECT page.*
FROM unnest($1::uuid[]) AS given (wallet_id)
CROSS JOIN LATERAL (
  (
    SELECT * FROM video_data
    WHERE
      video_data.wallet_id = given.wallet_id
      AND ($6::text[] IS NULL OR video_data.status = any($6))
      AND ($7::boolean IS NULL OR (video_data.trashed_at IS NOT NULL) = $7)
      AND NOT $5::boolean
      AND video_data.id < $2::uuid
      AND video_data.id > $3::uuid
    ORDER BY video_data.id DESC
    LIMIT $4::integer
  )
  UNION ALL
  (
    SELECT * FROM video_data
    WHERE
      video_data.wallet_id = given.wallet_id
      AND ($6::text[] IS NULL OR video_data.status = any($6))
      AND ($7::boolean IS NULL OR (video_data.trashed_at IS NOT NULL) = $7)
      AND $5::boolean
      AND video_data.id < $2::uuid
      AND video_data.id > $3::uuid
    ORDER BY video_data.id ASC
    LIMIT $4::integer
  )
) AS page
