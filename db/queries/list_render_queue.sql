-- Videos that wait to be rendered, the longest waiting first.
-- $1 after and $2 before: queue numbers, exclusive, the type's ends where there is none; $3 limit for each; $4 true for the last page's
-- end: the rows nearest `before`, in reverse. Only the branch of that direction is executed.
SELECT
  page.user_id, page.id, page.title, page.video_style, page.topic, page.voice_id, page.voice_name,
  page.music_track_name, page.music_track_url, page.audio_url, page.download_url, page.created_by, page.status,
  page.comments, page.render_progress, page.render_id, page.bucket_name, page.queue_number, page.queued_at,
  page.render_started_at, page.trashed_at, page.volume_background_music, page.volume_voice, page.attempt, page.cost,
  page.version, page.created_at, page.updated_at
FROM (
  (
    SELECT * FROM video_data
    WHERE NOT $4::boolean AND video_data.queue_number > $1::bigint AND video_data.queue_number < $2::bigint
    ORDER BY video_data.queue_number ASC
    LIMIT $3::integer
  )
  UNION ALL
  (
    SELECT * FROM video_data
    WHERE $4::boolean AND video_data.queue_number > $1::bigint AND video_data.queue_number < $2::bigint
    ORDER BY video_data.queue_number DESC
    LIMIT $3::integer
  )
) AS page
