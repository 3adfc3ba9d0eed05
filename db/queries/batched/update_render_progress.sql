-- `update_render_progress` for many calls at once, the first of those of each video.
-- $1 to $5 its parameters, each an array with one element for each call.
-- A row for each call whose progress was noted, as `update_render_progress` answers it, and `place`, the call's place in the arrays.
-- Nothing is done, and no row answers, for any other: `update_render_progress` is to judge these one by one.
-- Race-free because every condition is the UPDATE's own, evaluated on the newest version of the row; locked in the order of their ids.
WITH call AS (
  SELECT DISTINCT ON (user_id, id) *
  FROM
    unnest($1::uuid[], $2::uuid[], $3::integer[], $4::integer[], $5::bigint[])
    WITH ORDINALITY AS given (user_id, id, render_progress, attempt, request_id, place)
  ORDER BY user_id, id, place
),

present AS (
  SELECT call.*
  FROM call INNER JOIN video_data ON call.user_id = video_data.user_id AND call.id = video_data.id
  ORDER BY call.user_id, call.id
  FOR NO KEY UPDATE OF video_data
),

video AS (
  UPDATE video_data SET
    render_progress = present.render_progress,
    version = video_data.version + 1,
    updated_at = now(),
    request_ids = with_request_id(video_data.request_ids, present.request_id)
  FROM present
  WHERE
    video_data.user_id = present.user_id AND video_data.id = present.id
    AND video_data.render_progress < present.render_progress
    AND NOT video_status_is_final(video_data.status)
    AND coalesce(video_data.attempt = present.attempt, TRUE)
    AND present.request_id <> all(video_data.request_ids)
  RETURNING
    video_data.user_id, video_data.id, video_data.title, video_data.video_style, video_data.topic,
    video_data.voice_id, video_data.voice_name, video_data.music_track_name, video_data.music_track_url,
    video_data.audio_url, video_data.download_url, video_data.created_by, video_data.status, video_data.comments,
    video_data.render_progress, video_data.render_id, video_data.bucket_name, video_data.queue_number,
    video_data.queued_at, video_data.render_started_at, video_data.trashed_at, video_data.volume_background_music,
    video_data.volume_voice, video_data.attempt, video_data.cost, video_data.version, video_data.created_at,
    video_data.updated_at, present.place
)

SELECT
  'noted' AS outcome,
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
  NULL::uuid AS entry_user_id, NULL::bigint AS entry_number, NULL AS entry_kind, NULL::integer AS entry_amount,
  NULL::integer AS entry_balance_after, NULL::uuid AS entry_video_id, NULL::integer AS entry_attempt,
  NULL AS entry_idempotency_key, NULL AS entry_actor, NULL AS entry_memo, NULL::timestamptz AS entry_created_at,
  video.place
FROM video INNER JOIN users AS owner ON video.user_id = owner.user_id
