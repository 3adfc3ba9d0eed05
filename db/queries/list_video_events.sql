-- Events of each of these videos ($1 wallets' ids uuid[], $2 videos' ids uuid[], pairwise), newest first.
-- $3 after and $4 before: numbers, exclusive, the type's ends where there is none; $5 limit for each.
SELECT page.*
FROM unnest($1::uuid[], $2::uuid[]) AS given (wallet_id, video_id)
CROSS JOIN LATERAL (
  SELECT * FROM video_events
  WHERE
    video_events.wallet_id = given.wallet_id
    AND video_events.video_id = given.video_id
    AND video_events.number < $3::integer
    AND video_events.number > $4::integer
  ORDER BY video_events.number DESC
  LIMIT $5::integer
) AS page
