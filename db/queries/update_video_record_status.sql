-- Take a report about a video: move it to a status, note its progress, comments and download URL, and give back what the attempt was
-- charged when it ends in FAILED or CANCELED.
-- $1 user_id, $2 id, $3 status (null: no move), $4 comments, $5 render_progress, $6 download_url, $7 attempt that the report is about
-- (null: the present one), $8 actor, $9 request_id. Always exactly one row: outcome, the user, the video and the REFUND entry as far as
-- they exist.
-- Outcomes in order of precedence: video_data_not_found, stale_attempt, unchanged (the status again, or nothing to note), stale,
--   illegal_transition, credits_out_of_range (the refund would not fit the balance; nothing is moved), noted, moved.
-- Race-free because the video is locked before it is judged, and the refund depends on what the UPDATE itself returns (old and new),
-- never on a second look: of many failure reports one moves the video, the others find it moved. Locks the video, then its user's account.
-- A repeated report answers with the refund and balance as they stand, so it is 'stale' (run it again) when its snapshot is older
-- than the move; so is a refund that does not fit the balance, when its snapshot shows another balance.
-- A rerun, whose first reply was lost, finds its request id on the video, changes nothing and answers as the first run did, with the rows
-- as they are now and the refund that it made: the video may have been moved on, or be in another attempt. ('noted' and 'moved' are
-- shown alike, so that the one stands for the other where a status that came again brought progress.)
WITH present AS (
  SELECT
    user_id, id, title, video_style, topic, voice_id, voice_name, music_track_name, music_track_url, audio_url,
    download_url, created_by, status, comments, render_progress, render_id, bucket_name, queue_number, queued_at,
    render_started_at, trashed_at, volume_background_music, volume_voice, attempt, cost, version, created_at,
    updated_at, event_count, $9 = any(request_ids) AS is_rerun
  FROM video_data
  WHERE user_id = $1 AND id = $2
  FOR NO KEY UPDATE
),

judged AS (
  SELECT
    user_id, id, cost, is_rerun,
    CASE
      WHEN is_rerun THEN CASE WHEN $3::text IS NULL THEN 'noted' ELSE 'moved' END
      WHEN $7::integer <> attempt THEN 'stale_attempt'
      WHEN $3::text IS NULL AND video_status_is_final(status) THEN 'unchanged'
      WHEN $3 IS NULL AND (
        $5::integer > render_progress
        OR ($4::jsonb IS NOT NULL AND $4 IS DISTINCT FROM comments)
        OR ($6::text IS NOT NULL AND $6 IS DISTINCT FROM download_url)
      ) THEN 'noted'
      WHEN $3 = status AND NOT video_status_is_final(status) AND $5 > render_progress THEN 'noted'
      WHEN $3 IS NULL OR $3 = status THEN 'unchanged'
      WHEN video_status_may_follow(status, $3) THEN 'moved'
      ELSE 'illegal_transition'
    END AS verdict
  FROM present
),

account AS (
  SELECT user_id, credits
  FROM users
  WHERE user_id = $1 AND $3 IN ('FAILED', 'CANCELED') AND (SELECT judged.verdict = 'moved' AND NOT judged.is_rerun FROM judged)
  FOR NO KEY UPDATE
),

changed AS (
  UPDATE video_data SET
    status = CASE WHEN judged.verdict = 'moved' THEN $3 ELSE video_data.status END,
    comments = CASE WHEN judged.verdict = 'moved' OR $3 IS NULL THEN coalesce($4, video_data.comments) ELSE video_data.comments END,
    download_url = CASE
      WHEN judged.verdict = 'moved' OR $3 IS NULL THEN coalesce($6, video_data.download_url) ELSE video_data.download_url
    END,
    render_progress = CASE
      WHEN judged.verdict = 'moved' AND $3 = 'COMPLETED' THEN 100 ELSE greatest(video_data.render_progress, $5)
    END,
    queue_number = CASE
      WHEN judged.verdict <> 'moved' THEN video_data.queue_number
      WHEN $3 = 'RENDER_QUEUED' THEN nextval('video_data_queue_number')
    END,
    queued_at = CASE WHEN judged.verdict = 'moved' AND $3 = 'RENDER_QUEUED' THEN now() ELSE video_data.queued_at END,
    render_started_at = CASE WHEN judged.verdict = 'moved' AND $3 = 'RENDERING' THEN now() ELSE video_data.render_started_at END,
    event_count = video_data.event_count + CASE WHEN judged.verdict = 'moved' THEN 1 ELSE 0 END,
    version = video_data.version + 1,
    updated_at = now(),
    request_ids = with_request_id(video_data.request_ids, $9)
  FROM judged LEFT JOIN account ON TRUE
  WHERE
    video_data.user_id = judged.user_id AND video_data.id = judged.id
    AND judged.verdict IN ('moved', 'noted') AND NOT judged.is_rerun
    AND coalesce(account.credits::bigint + judged.cost <= 2147483647, TRUE)
  RETURNING
    old.status AS status_before, new.event_count AS event_count, new.user_id AS user_id, new.id AS id,
    new.title AS title, new.video_style AS video_style, new.topic AS topic, new.voice_id AS voice_id,
    new.voice_name AS voice_name, new.music_track_name AS music_track_name, new.music_track_url AS music_track_url,
    new.audio_url AS audio_url, new.download_url AS download_url, new.created_by AS created_by,
    new.status AS status, new.comments AS comments, new.render_progress AS render_progress,
    new.render_id AS render_id, new.bucket_name AS bucket_name, new.queue_number AS queue_number,
    new.queued_at AS queued_at, new.render_started_at AS render_started_at, new.trashed_at AS trashed_at,
    new.volume_background_music AS volume_background_music, new.volume_voice AS volume_voice,
    new.attempt AS attempt, new.cost AS cost, new.version AS version, new.created_at AS created_at,
    new.updated_at AS updated_at
),

-- The guard in the increment is for the snapshot's row: PostgreSQL computes that one first, and holds it against the constraints, before
-- it turns to the newest row, which is the locked account's and can bear it. (Were it not so, the trigger would refuse the balance.)
refunded AS (
  UPDATE users SET
    credits = users.credits + CASE WHEN users.credits::bigint + changed.cost <= 2147483647 THEN changed.cost ELSE 0 END,
    entry_count = users.entry_count + 1,
    version = users.version + 1
  FROM changed
  WHERE users.user_id = changed.user_id AND changed.status IN ('FAILED', 'CANCELED') AND changed.status_before <> changed.status
  RETURNING
    users.user_id, users.number, users.name, users.email, users.picture, users.credits, users.version,
    users.first_purchased_at, users.created_at, users.entry_count
),

entry AS (
  INSERT INTO credit_entries (user_id, number, kind, amount, balance_after, video_id, attempt, actor, request_id)
  SELECT
    refunded.user_id,
    refunded.entry_count,
    'REFUND',
    changed.cost, refunded.credits, changed.id, changed.attempt,
    $8,
    $9
  FROM changed CROSS JOIN refunded
  RETURNING
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at
),

event AS (
  INSERT INTO video_events (user_id, video_id, number, status, attempt, actor, comments)
  SELECT
    user_id, id, event_count, status, attempt,
    $8,
    $4
  FROM changed
  WHERE status_before <> status
),

written AS (
  SELECT * FROM entry
  UNION ALL
  SELECT
    refund.user_id, refund.number, refund.kind, refund.amount, refund.balance_after, refund.video_id, refund.attempt,
    refund.idempotency_key, refund.actor, refund.memo, refund.created_at
  FROM present INNER JOIN credit_entries AS refund
    ON refund.user_id = $1 AND refund.video_id = $2 AND refund.kind = 'REFUND'
  WHERE
    (present.is_rerun OR present.status IN ('FAILED', 'CANCELED'))
    AND CASE WHEN present.is_rerun THEN refund.request_id = $9 ELSE refund.attempt = present.attempt END
),

owner AS (
  SELECT
    user_id, number, name, email, picture, credits, version, first_purchased_at, created_at
  FROM refunded
  UNION ALL
  SELECT
    user_id, number, name, email, picture, credits, version, first_purchased_at, created_at
  FROM users
  WHERE user_id = $1 AND NOT EXISTS (SELECT FROM refunded) AND EXISTS (SELECT FROM present)
),

video AS (
  SELECT
    user_id, id, title, video_style, topic, voice_id, voice_name, music_track_name, music_track_url, audio_url,
    download_url, created_by, status, comments, render_progress, render_id, bucket_name, queue_number, queued_at,
    render_started_at, trashed_at, volume_background_music, volume_voice, attempt, cost, version, created_at,
    updated_at
  FROM changed
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
  CASE
    WHEN judged.verdict IS NULL THEN 'video_data_not_found'
    WHEN
      (judged.is_rerun OR (judged.verdict = 'unchanged' AND video_status_is_final(video.status)))
      AND video.version <> (
        SELECT seen.version FROM video_data AS seen
        WHERE seen.user_id = $1 AND seen.id = $2
      )
      THEN 'stale'
    WHEN judged.is_rerun THEN judged.verdict
    WHEN judged.verdict = 'moved' AND NOT EXISTS (SELECT FROM changed) AND (SELECT account.credits FROM account) <> owner.credits THEN 'stale'
    WHEN judged.verdict = 'moved' AND NOT EXISTS (SELECT FROM changed) THEN 'credits_out_of_range'
    ELSE judged.verdict
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
  video.created_at AS video_created_at, video.updated_at AS video_updated_at, written.user_id AS entry_user_id,
  written.number AS entry_number, written.kind AS entry_kind, written.amount AS entry_amount,
  written.balance_after AS entry_balance_after, written.video_id AS entry_video_id, written.attempt AS entry_attempt,
  written.idempotency_key AS entry_idempotency_key, written.actor AS entry_actor, written.memo AS entry_memo,
  written.created_at AS entry_created_at
FROM (VALUES (1)) AS always (one)
LEFT JOIN judged ON TRUE
LEFT JOIN owner ON TRUE
LEFT JOIN video ON TRUE
LEFT JOIN written ON TRUE
