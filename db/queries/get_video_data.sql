-- The videos with these ids ($1 owners' ids uuid[], $2 videos' ids uuid[], pairwise), in any order; an unknown id gives no row.
SELECT
  video_data.user_id, video_data.id, video_data.title, video_data.video_style, video_data.topic, video_data.voice_id,
  video_data.voice_name, video_data.music_track_name, video_data.music_track_url, video_data.audio_url,
  video_data.download_url, video_data.created_by, video_data.status, video_data.comments, video_data.render_progress,
  video_data.render_id, video_data.bucket_name, video_data.queue_number, video_data.queued_at,
  video_data.render_started_at, video_data.trashed_at, video_data.volume_background_music, video_data.volume_voice,
  video_data.attempt, video_data.cost, video_data.version, video_data.created_at, video_data.updated_at
FROM unnest($1::uuid[], $2::uuid[]) AS wanted (user_id, id)
INNER JOIN video_data ON wanted.user_id = video_data.user_id AND wanted.id = video_data.id
