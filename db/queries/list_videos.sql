-- Videos of each of these wallets ($1 uuid[]), newest first.
-- $2 after and $3 before: ids, exclusive, the type's ends where there is none; $4 limit for each; $5 statuses text[] (null: all), $6
-- trashed (null: either).
SELECT page.*
FROM unnest($1::uuid[]) AS given (wallet_id)
CROSS JOIN LATERAL (
  SELECT * FROM video_data
  WHERE
    video_data.wallet_id = given.wallet_id
    AND ($5::text[] IS NULL OR video_data.status = any($5))
    AND ($6::boolean IS NULL OR (video_data.trashed_at IS NOT NULL) = $6)
    AND video_data.id < $2::uuid
    AND video_data.id > $3::uuid
  ORDER BY video_data.id DESC
  LIMIT $4::integer
) AS page
