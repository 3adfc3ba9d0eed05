-- How many videos there are: all, completed, in progress, failed, canceled, and, whatever their status, trashed. One row.
SELECT
  count(*)::integer AS total,
  (count(*) FILTER (WHERE status = 'COMPLETED'))::integer AS completed,
  (count(*) FILTER (WHERE NOT video_status_is_final(status)))::integer AS in_progress,
  (count(*) FILTER (WHERE status = 'FAILED'))::integer AS failed,
  (count(*) FILTER (WHERE status = 'CANCELED'))::integer AS canceled,
  (count(*) FILTER (WHERE trashed_at IS NOT NULL))::integer AS trashed
FROM video_data
