-- How many videos are ahead of each place in the render queue ($1 queue numbers bigint[]), plus one.
SELECT
  wanted.queue_number,
  (
    SELECT count(*) + 1 FROM video_data AS ahead
    WHERE ahead.queue_number < wanted.queue_number
  )::integer AS position
FROM unnest($1::bigint[]) AS wanted (queue_number)
