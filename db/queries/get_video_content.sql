-- The large columns of videos, those that are wanted: $1 wallets' ids uuid[], $2 videos' ids uuid[], pairwise; $3 the wanted columns'
-- names text[]; $4 bigint, the most bytes that all of them may have together as text: if they have more, every column is null.
-- In any order, JSON as text. A column that is not wanted is null and is not even read from where PostgreSQL keeps large values.
-- `sizes` has the bytes of each column, `total_bytes` those of all columns of all videos.
-- Materialized, or each size would be computed wherever it is used: it takes as long as to read the column.
WITH selected AS (
  SELECT
    wanted.wallet_id,
    wanted.video_id,
    CASE WHEN 'script' = any($3::text[]) THEN video_contents.script END AS script,
    CASE WHEN 'caption' = any($3::text[]) THEN video_contents.caption END AS caption,
    CASE WHEN 'images' = any($3::text[]) THEN video_contents.images END AS images,
    CASE WHEN 'caption_json' = any($3::text[]) THEN video_contents.caption_json END AS caption_json,
    CASE WHEN 'config' = any($3::text[]) THEN video_contents.config END AS config
  FROM unnest($1::uuid[], $2::uuid[]) AS wanted (wallet_id, video_id)
  LEFT JOIN video_contents ON wanted.wallet_id = video_contents.wallet_id AND wanted.video_id = video_contents.video_id
),

measured AS MATERIALIZED (
  SELECT
    selected.*,
    ARRAY[
      coalesce(octet_length(selected.script), 0),
      coalesce(octet_length(selected.caption::text), 0),
      coalesce(octet_length(selected.images::text), 0),
      coalesce(octet_length(selected.caption_json::text), 0),
      coalesce(octet_length(selected.config::text), 0)
    ] AS sizes
  FROM selected
),

total AS MATERIALIZED (
  SELECT sum(size.bytes)::bigint AS bytes FROM measured CROSS JOIN LATERAL unnest(measured.sizes) AS size (bytes)
)

SELECT
  measured.wallet_id,
  measured.video_id,
  CASE WHEN total.bytes <= $4 THEN measured.script END AS script,
  CASE WHEN total.bytes <= $4 THEN measured.caption::text END AS caption,
  CASE WHEN total.bytes <= $4 THEN measured.images::text END AS images,
  CASE WHEN total.bytes <= $4 THEN measured.caption_json::text END AS caption_json,
  CASE WHEN total.bytes <= $4 THEN measured.config::text END AS config,
  measured.sizes,
  total.bytes AS total_bytes
FROM measured
CROSS JOIN total
