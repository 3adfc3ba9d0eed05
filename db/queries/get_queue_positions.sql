-- The places of those of these numbers ($1 bigint[]) that are in the render queue, the next one being 1.
-- The queue is walked once, up to the last of them, however many they are: all who wait are told when it moves.
SELECT
  place.queue_number,
  place.position
FROM (
  SELECT
    video_data.queue_number,
    row_number() OVER (ORDER BY video_data.queue_number)::integer AS position
  FROM video_data
  WHERE video_data.queue_number <= (SELECT max(wanted.number) FROM unnest($1::bigint[]) AS wanted (number))
) AS place
WHERE place.queue_number = any($1::bigint[])
