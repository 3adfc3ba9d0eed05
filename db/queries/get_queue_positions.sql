-- The places of those of these queue ids ($1 uuid[]) that are in the render queue, the next one being 1.
-- The queue is walked once, up to the last of them, however many they are: everybody who waits reads when it moves.
SELECT
  place.queue_id,
  place.position
FROM (
  SELECT
    video_data.queue_id,
    row_number() OVER (ORDER BY video_data.queue_id)::integer AS position
  FROM video_data
  WHERE video_data.queue_id <= (
    SELECT wanted.queue_id FROM unnest($1::uuid[]) AS wanted (queue_id)
    ORDER BY wanted.queue_id DESC
    LIMIT 1
  )
) AS place
WHERE place.queue_id = any($1::uuid[])
