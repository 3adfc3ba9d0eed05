-- Events with comments of the videos of the user $1 user_id, and those of any video that one of $2 actors reported.
SELECT
  event.wallet_id,
  event.video_id,
  event.number
FROM video_events AS event INNER JOIN video_data AS video ON event.wallet_id = video.wallet_id AND event.video_id = video.id
WHERE (video.user_id = $1 AND event.comments IS NOT NULL) OR event.actor = any($2)
