-- The video events with these numbers ($1 wallets' ids uuid[], $2 videos' ids uuid[], $3 numbers integer[], by position), in any order.
SELECT video_events.*
FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS wanted (wallet_id, video_id, number)
INNER JOIN video_events
  ON wanted.wallet_id = video_events.wallet_id AND wanted.video_id = video_events.video_id AND wanted.number = video_events.number
