-- Erase a person from events ($1 wallet_ids, $2 video_ids and $3 numbers): those of videos of $4 user_id lose their comments, and where one
-- of $5 actors is the actor, the subject becomes $6 pseudonym.
WITH event AS (
  UPDATE video_events SET
    actor = CASE WHEN video_events.actor = any($5) THEN split_part(video_events.actor, ':', 1) || ':' || $6 ELSE video_events.actor END,
    comments = CASE WHEN video.user_id <> $4 THEN video_events.comments END
  FROM unnest($1::uuid[], $2::uuid[], $3::integer[]) AS given (wallet_id, video_id, number)
  INNER JOIN video_data AS video ON given.wallet_id = video.wallet_id AND given.video_id = video.id
  WHERE
    video_events.wallet_id = given.wallet_id AND video_events.video_id = given.video_id AND video_events.number = given.number
  RETURNING video_events.number
)

SELECT count(*) FROM event
