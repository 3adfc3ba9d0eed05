-- The large columns of videos, those that are wanted: $1 owners' ids uuid[], $2 videos' ids uuid[], pairwise; $3 the wanted columns'
-- names text[]. In any order; a column that is not wanted is null and is not even read from where PostgreSQL keeps large values.
SELECT
  video_data.user_id,
  video_data.id,
  CASE WHEN 'script' = any($3::text[]) THEN video_data.script END AS script,
  CASE WHEN 'caption' = any($3::text[]) THEN video_data.caption END AS caption,
  CASE WHEN 'images' = any($3::text[]) THEN video_data.images END AS images,
  CASE WHEN 'caption_json' = any($3::text[]) THEN video_data.caption_json END AS caption_json,
  CASE WHEN 'config' = any($3::text[]) THEN video_data.config END AS config
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (user_id, id)
INNER JOIN video_data ON wanted.user_id = video_data.user_id AND wanted.id = video_data.id
