-- Take the commonest report, progress alone: `update_video_record_status` without what it does not need.
-- $1 user_id, $2 id, $3 render_progress, $4 attempt that the report is about (null: the present one), $5 request_id.
-- Always exactly one row: outcome, the user, the video and the present attempt's REFUND entry as far as they exist. Outcomes in order of
-- precedence: video_data_not_found, noted, stale_attempt, unchanged (it would fall, or the video has ended), stale.
-- Race-free because every condition is the UPDATE's own, evaluated on the newest version of the row. Where it changed nothing, the answer
-- is the snapshot's, whole; if by the snapshot it should have changed something, the row has changed since: 'stale', run it again.
-- A rerun, whose first reply was lost, finds its request id on the video and answers 'noted' again, whatever happened to it since.
WITH progressed AS (
  UPDATE video_data SET
    render_progress = $3,
    version = version + 1,
    updated_at = now(),
    request_ids = with_request_id(request_ids, $5)
  WHERE
    user_id = $1 AND id = $2
    AND render_progress < $3
    AND NOT video_status_is_final(status)
    AND coalesce(attempt = $4, TRUE)
    AND $5 <> all(request_ids)
  RETURNING
    user_id, id, title, video_style, topic, voice_id, voice_name, music_track_name, music_track_url, audio_url,
    download_url, created_by, status, comments, render_progress, render_id, bucket_name, queue_number, queued_at,
    render_started_at, trashed_at, volume_background_music, volume_voice, attempt, cost, version, created_at,
    updated_at, FALSE AS is_rerun
),

video AS (
  SELECT * FROM progressed
  UNION ALL
  SELECT
    user_id, id, title, video_style, topic, voice_id, voice_name, music_track_name, music_track_url, audio_url,
    download_url, created_by, status, comments, render_progress, render_id, bucket_name, queue_number, queued_at,
    render_started_at, trashed_at, volume_background_music, volume_voice, attempt, cost, version, created_at,
    updated_at, $5 = any(request_ids) AS is_rerun
  FROM video_data
  WHERE user_id = $1 AND id = $2 AND NOT EXISTS (SELECT FROM progressed)
)

SELECT
  CASE
    WHEN video.id IS NULL THEN 'video_data_not_found'
    WHEN video.is_rerun OR EXISTS (SELECT FROM progressed) THEN 'noted'
    WHEN video.attempt <> $4 THEN 'stale_attempt'
    WHEN video_status_is_final(video.status) OR video.render_progress >= $3 THEN 'unchanged'
    ELSE 'stale'
  END AS outcome,
  owner.user_id AS user_user_id, owner.number AS user_number, owner.name AS user_name, owner.email AS user_email,
  owner.picture AS user_picture, owner.credits AS user_credits, owner.version AS user_version,
  owner.first_purchased_at AS user_first_purchased_at, owner.created_at AS user_created_at,
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
  refund.user_id AS entry_user_id, refund.number AS entry_number, refund.kind AS entry_kind,
  refund.amount AS entry_amount, refund.balance_after AS entry_balance_after, refund.video_id AS entry_video_id,
  refund.attempt AS entry_attempt, refund.idempotency_key AS entry_idempotency_key, refund.actor AS entry_actor,
  refund.memo AS entry_memo, refund.created_at AS entry_created_at
FROM (VALUES (1)) AS always (one)
LEFT JOIN video ON TRUE
LEFT JOIN users AS owner ON video.user_id = owner.user_id
LEFT JOIN credit_entries AS refund
  ON
    video.status IN ('FAILED', 'CANCELED')
    AND video.user_id = refund.user_id AND video.id = refund.video_id AND video.attempt = refund.attempt AND refund.kind = 'REFUND'
