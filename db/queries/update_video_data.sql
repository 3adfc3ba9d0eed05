-- Store what the generation job and the editor page store; only the columns named in $4 change, unless somebody else saved first.
-- $1 user_id, $2 id, $3 expected version (null: any), $4 the columns that are given (text[]), then their values:
-- $5 script, $6 music_track_name, $7 music_track_url, $8 images, $9 caption_json, $10 config, $11 volume_background_music,
-- $12 volume_voice, $13 audio_url, $14 download_url, $15 render_id, $16 bucket_name; $17 storage_max (bytes that the user's videos may
-- hold together; null: any number), $18 whether the user's row may be locked, $19 request_id.
-- Always exactly one row: outcome, the video, if there is one, and, when the quota refuses, how much of it is used. Outcomes in order of
-- precedence: video_data_not_found, version_conflict, not_counted (the video would hold another number of blocks, which $18 forbids to
-- count; nothing is done), storage_exceeded (what holds no more than before is never refused), updated.
-- Race-free because the video and then, if it is to hold another number of blocks, its user's account are locked before they are judged.
-- A rerun, whose first reply was lost, finds its request id on the video and changes nothing: the expected version was the one before its
-- own change, and somebody else may have saved since.
WITH present AS (
  SELECT
    user_id, id, title, video_style, topic, voice_id, voice_name, music_track_name, music_track_url, audio_url,
    download_url, created_by, status, comments, render_progress, render_id, bucket_name, queue_number, queued_at,
    render_started_at, trashed_at, volume_background_music, volume_voice, attempt, cost, version, created_at,
    updated_at,
    video_stored_bytes(script_bytes + caption_bytes + images_bytes + caption_json_bytes + config_bytes) AS stored_bytes,
    video_stored_bytes(
      CASE WHEN 'script' = any($4) THEN coalesce(octet_length($5), 0) ELSE script_bytes END
      + caption_bytes
      + CASE WHEN 'images' = any($4) THEN json_bytes($8) ELSE images_bytes END
      + CASE WHEN 'caption_json' = any($4) THEN json_bytes($9) ELSE caption_json_bytes END
      + CASE WHEN 'config' = any($4) THEN json_bytes($10) ELSE config_bytes END
    ) AS new_stored_bytes,
    $19 = any(request_ids) AS is_rerun
  FROM video_data
  WHERE user_id = $1 AND id = $2
  FOR NO KEY UPDATE
),

growth AS (
  SELECT
    new_stored_bytes - stored_bytes AS stored_bytes,
    coalesce(version = $3, TRUE) AS expected,
    is_rerun
  FROM present
),

account AS (
  SELECT user_id, stored_bytes
  FROM users
  WHERE user_id = $1 AND $18 AND (SELECT growth.expected AND growth.stored_bytes <> 0 AND NOT growth.is_rerun FROM growth)
  FOR NO KEY UPDATE
),

judged AS (
  SELECT
    growth.stored_bytes,
    CASE
      WHEN growth.is_rerun THEN 'updated'
      WHEN NOT growth.expected THEN 'version_conflict'
      WHEN growth.stored_bytes <> 0 AND NOT $18 THEN 'not_counted'
      WHEN growth.stored_bytes > 0 AND account.stored_bytes + growth.stored_bytes > $17 THEN 'storage_exceeded'
      ELSE 'updated'
    END AS outcome
  FROM growth LEFT JOIN account ON TRUE
),

changed AS (
  UPDATE video_data SET
    script = CASE WHEN 'script' = any($4) THEN $5 ELSE video_data.script END,
    music_track_name = CASE WHEN 'music_track_name' = any($4) THEN $6 ELSE video_data.music_track_name END,
    music_track_url = CASE WHEN 'music_track_url' = any($4) THEN $7 ELSE video_data.music_track_url END,
    images = CASE WHEN 'images' = any($4) THEN $8 ELSE video_data.images END,
    caption_json = CASE WHEN 'caption_json' = any($4) THEN $9 ELSE video_data.caption_json END,
    config = CASE WHEN 'config' = any($4) THEN $10 ELSE video_data.config END,
    volume_background_music = CASE WHEN 'volume_background_music' = any($4) THEN $11 ELSE video_data.volume_background_music END,
    volume_voice = CASE WHEN 'volume_voice' = any($4) THEN $12 ELSE video_data.volume_voice END,
    audio_url = CASE WHEN 'audio_url' = any($4) THEN $13 ELSE video_data.audio_url END,
    download_url = CASE WHEN 'download_url' = any($4) THEN $14 ELSE video_data.download_url END,
    render_id = CASE WHEN 'render_id' = any($4) THEN $15 ELSE video_data.render_id END,
    bucket_name = CASE WHEN 'bucket_name' = any($4) THEN $16 ELSE video_data.bucket_name END,
    script_bytes = CASE WHEN 'script' = any($4) THEN coalesce(octet_length($5), 0) ELSE video_data.script_bytes END,
    images_bytes = CASE WHEN 'images' = any($4) THEN json_bytes($8) ELSE video_data.images_bytes END,
    caption_json_bytes = CASE WHEN 'caption_json' = any($4) THEN json_bytes($9) ELSE video_data.caption_json_bytes END,
    config_bytes = CASE WHEN 'config' = any($4) THEN json_bytes($10) ELSE video_data.config_bytes END,
    version = video_data.version + 1,
    updated_at = now(),
    request_ids = with_request_id(video_data.request_ids, $19)
  FROM present CROSS JOIN judged
  WHERE
    video_data.user_id = present.user_id AND video_data.id = present.id
    AND judged.outcome = 'updated' AND NOT present.is_rerun
  RETURNING
    video_data.user_id, video_data.id, video_data.title, video_data.video_style, video_data.topic,
    video_data.voice_id, video_data.voice_name, video_data.music_track_name, video_data.music_track_url,
    video_data.audio_url, video_data.download_url, video_data.created_by, video_data.status, video_data.comments,
    video_data.render_progress, video_data.render_id, video_data.bucket_name, video_data.queue_number,
    video_data.queued_at, video_data.render_started_at, video_data.trashed_at, video_data.volume_background_music,
    video_data.volume_voice, video_data.attempt, video_data.cost, video_data.version, video_data.created_at,
    video_data.updated_at
),

-- Of the locked account, when there is one.
counted AS (
  UPDATE users SET stored_bytes = users.stored_bytes + judged.stored_bytes
  FROM account CROSS JOIN judged
  WHERE users.user_id = account.user_id AND judged.outcome = 'updated'
),

video AS (
  SELECT * FROM changed
  UNION ALL
  SELECT
    user_id, id, title, video_style, topic, voice_id, voice_name, music_track_name, music_track_url, audio_url,
    download_url, created_by, status, comments, render_progress, render_id, bucket_name, queue_number, queued_at,
    render_started_at, trashed_at, volume_background_music, volume_voice, attempt, cost, version, created_at,
    updated_at
  FROM present
  WHERE NOT EXISTS (SELECT FROM changed)
)

SELECT
  CASE WHEN video.id IS NULL THEN 'video_data_not_found' ELSE judged.outcome END AS outcome,
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
  video.created_at AS video_created_at, video.updated_at AS video_updated_at,
  CASE WHEN judged.outcome = 'storage_exceeded' THEN account.stored_bytes END AS quota_used,
  NULL::timestamptz AS quota_resets_at
FROM (VALUES (1)) AS always (one)
LEFT JOIN video ON TRUE
LEFT JOIN judged ON TRUE
LEFT JOIN account ON TRUE
