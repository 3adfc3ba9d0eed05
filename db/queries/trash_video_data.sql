-- Put a video into the trash ($3 true) or take it out again ($3 false).
-- $1 user_id, $2 id, $4 request_id. Always exactly one row: outcome (video_data_not_found, unchanged, changed) and the video, if there is
-- one. Race-free because the video is locked before it is judged. A rerun, whose first reply was lost, finds its request id on the video and
-- changes nothing: the video may have been taken out again meanwhile.
WITH present AS (
  SELECT
    user_id, id, title, video_style, topic, voice_id, voice_name, music_track_name, music_track_url, audio_url,
    download_url, created_by, status, comments, render_progress, render_id, bucket_name, queue_number, queued_at,
    render_started_at, trashed_at, volume_background_music, volume_voice, attempt, cost, version, created_at,
    updated_at,
    $4 = any(request_ids) AS is_rerun
  FROM video_data
  WHERE user_id = $1 AND id = $2
  FOR NO KEY UPDATE
),

changed AS (
  UPDATE video_data SET
    trashed_at = CASE WHEN $3::boolean THEN now() END,
    version = video_data.version + 1,
    updated_at = now(),
    request_ids = with_request_id(video_data.request_ids, $4)
  FROM present
  WHERE video_data.user_id = present.user_id AND video_data.id = present.id AND (present.trashed_at IS NULL) = $3 AND NOT present.is_rerun
  RETURNING
    video_data.user_id, video_data.id, video_data.title, video_data.video_style, video_data.topic,
    video_data.voice_id, video_data.voice_name, video_data.music_track_name, video_data.music_track_url,
    video_data.audio_url, video_data.download_url, video_data.created_by, video_data.status, video_data.comments,
    video_data.render_progress, video_data.render_id, video_data.bucket_name, video_data.queue_number,
    video_data.queued_at, video_data.render_started_at, video_data.trashed_at, video_data.volume_background_music,
    video_data.volume_voice, video_data.attempt, video_data.cost, video_data.version, video_data.created_at,
    video_data.updated_at,
    FALSE AS is_rerun
),

video AS (
  SELECT * FROM changed
  UNION ALL
  SELECT * FROM present
  WHERE NOT EXISTS (SELECT FROM changed)
)

SELECT
  CASE
    WHEN video.id IS NULL THEN 'video_data_not_found'
    WHEN video.is_rerun OR EXISTS (SELECT FROM changed) THEN 'changed'
    ELSE 'unchanged'
  END AS outcome,
  video.user_id AS video_user_id, video.id AS video_id, video.title AS video_title,
  video.video_style AS video_video_style, video.topic AS video_topic, video.voice_id AS video_voice_id,
  video.voice_name AS video_voice_name, video.music_track_name AS video_music_track_name,
  video.music_track_url AS video_music_track_url, video.audio_url AS video_audio_url,
  video.download_url AS video_download_url, video.created_by AS video_created_by, video.status AS video_status,
  video.comments AS video_comments, video.render_progress AS video_render_progress,
  video.render_id AS video_render_id, video.bucket_name AS video_bucket_name,
  video.queue_number AS video_queue_number, video.queued_at AS video_queued_at,
  video.render_started_at AS video_render_started_at, video.trashed_at AS video_trashed_at,
  video.volume_background_music AS video_volume_background_music, video.volume_voice AS video_volume_voice,
  video.attempt AS video_attempt, video.cost AS video_cost, video.version AS video_version,
  video.created_at AS video_created_at, video.updated_at AS video_updated_at
FROM (VALUES (1)) AS always (one)
LEFT JOIN video ON TRUE
