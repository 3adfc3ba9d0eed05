-- Begin a new attempt at a FAILED or CANCELED video and charge what it costs now, once per idempotency key.
-- $1 user_id, $2 id, $3 idempotency_key, $4 request_hash (SHA-256 of the canonical arguments), $5 cost in credits, $6 actor,
-- $7 creations_max (of a day; null: any number), $8 request_id. Always exactly one row: outcome, the user, the video and the CHARGE entry
-- as far as they exist; when the quota refuses, how much of it is used and when it resets. Outcomes in order of precedence:
--   idempotency_key_reused, replayed, video_data_not_found, stale, illegal_transition, creations_exceeded, insufficient_credits, restarted.
-- Race-free because the video and then the account are locked before they are judged: a second retry finds the video QUEUED.
-- A refusal is final only if neither changed between this statement's snapshot and its locks (the change may have been this very retry,
-- sent twice); else it is 'stale': run it again. One key on two things at once meets the unique constraint (23505: run it again).
-- A rerun, whose first reply was lost, finds its request id on the entry and answers as the first run did, with the rows as they are now.
WITH earlier AS (
  SELECT
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at, request_hash,
    request_id
  FROM credit_entries
  WHERE user_id = $1 AND idempotency_key = $3
),

present AS (
  SELECT
    user_id, id, title, video_style, topic, voice_id, voice_name, music_track_name, music_track_url, audio_url,
    download_url, created_by, status, comments, render_progress, render_id, bucket_name, queue_number, queued_at,
    render_started_at, trashed_at, volume_background_music, volume_voice, attempt, cost, version, created_at,
    updated_at
  FROM video_data
  WHERE user_id = $1 AND id = $2
  FOR NO KEY UPDATE
),

account AS (
  SELECT
    user_id, number, name, email, picture, credits, version, first_purchased_at, created_at, entry_count,
    creations_today(creations_day, creations) AS creations,
    CASE
      WHEN creations_today(creations_day, creations) >= $7 THEN 'creations_exceeded'
      WHEN credits < $5 THEN 'insufficient_credits'
    END AS refusal
  FROM users
  WHERE
    user_id = $1
    AND EXISTS (SELECT FROM present)
  FOR NO KEY UPDATE
),

restarted AS (
  UPDATE video_data SET
    status = 'QUEUED',
    attempt = video_data.attempt + 1,
    cost = $5,
    comments = NULL,
    render_progress = 0,
    render_id = NULL,
    bucket_name = NULL,
    queue_number = NULL, -- It has none by now; but the snapshot's row, which the constraints see first, may have.
    queued_at = NULL,
    render_started_at = NULL,
    download_url = NULL,
    event_count = video_data.event_count + 1,
    version = video_data.version + 1,
    updated_at = now()
  FROM present CROSS JOIN account
  WHERE
    video_data.user_id = present.user_id AND video_data.id = present.id
    AND present.status IN ('FAILED', 'CANCELED')
    AND account.refusal IS NULL
    AND NOT EXISTS (SELECT FROM earlier)
  RETURNING
    video_data.user_id, video_data.id, video_data.title, video_data.video_style, video_data.topic,
    video_data.voice_id, video_data.voice_name, video_data.music_track_name, video_data.music_track_url,
    video_data.audio_url, video_data.download_url, video_data.created_by, video_data.status, video_data.comments,
    video_data.render_progress, video_data.render_id, video_data.bucket_name, video_data.queue_number,
    video_data.queued_at, video_data.render_started_at, video_data.trashed_at, video_data.volume_background_music,
    video_data.volume_voice, video_data.attempt, video_data.cost, video_data.version, video_data.created_at,
    video_data.updated_at, video_data.event_count
),

-- The guard in the increment is for the snapshot's row: PostgreSQL computes that one first, and holds it against the constraints, before
-- it turns to the newest row, which is the locked account's and can bear it. (Were it not so, the trigger would refuse the balance.)
charged AS (
  UPDATE users SET
    credits = users.credits - CASE WHEN users.credits >= restarted.cost THEN restarted.cost ELSE 0 END,
    entry_count = users.entry_count + 1,
    version = users.version + 1,
    creations_day = utc_today(),
    creations = creations_today(users.creations_day, users.creations) + 1
  FROM restarted
  WHERE users.user_id = restarted.user_id
  RETURNING users.credits, users.entry_count, users.version
),

entry AS (
  INSERT INTO credit_entries (
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, request_hash, actor, request_id
  )
  SELECT restarted.user_id, charged.entry_count, 'CHARGE', -restarted.cost, charged.credits, restarted.id, restarted.attempt, $3, $4, $6, $8
  FROM restarted CROSS JOIN charged
  RETURNING
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at
),

event AS (
  INSERT INTO video_events (user_id, video_id, number, status, attempt, actor)
  SELECT user_id, id, event_count, status, attempt, $6 FROM restarted
),

written AS (
  SELECT * FROM entry
  UNION ALL
  SELECT
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at
  FROM earlier
),

video AS (
  SELECT
    user_id, id, title, video_style, topic, voice_id, voice_name, music_track_name, music_track_url, audio_url,
    download_url, created_by, status, comments, render_progress, render_id, bucket_name, queue_number, queued_at,
    render_started_at, trashed_at, volume_background_music, volume_voice, attempt, cost, version, created_at,
    updated_at
  FROM restarted
  UNION ALL
  SELECT
    user_id, id, title, video_style, topic, voice_id, voice_name, music_track_name, music_track_url, audio_url,
    download_url, created_by, status, comments, render_progress, render_id, bucket_name, queue_number, queued_at,
    render_started_at, trashed_at, volume_background_music, volume_voice, attempt, cost, version, created_at,
    updated_at
  FROM present
  WHERE NOT EXISTS (SELECT FROM restarted)
)

SELECT
  CASE
    WHEN earlier.request_hash <> $4 THEN 'idempotency_key_reused'
    WHEN earlier.request_id = $8 THEN 'restarted'
    WHEN earlier.number IS NOT NULL THEN 'replayed'
    WHEN video.id IS NULL THEN 'video_data_not_found'
    WHEN written.number IS NOT NULL THEN 'restarted'
    WHEN
      video.version <> (
        SELECT seen.version FROM video_data AS seen
        WHERE seen.user_id = $1 AND seen.id = $2
      )
      OR account.entry_count <> (
        SELECT seen.entry_count FROM users AS seen
        WHERE seen.user_id = $1
      )
      THEN 'stale'
    WHEN video.status NOT IN ('FAILED', 'CANCELED') THEN 'illegal_transition'
    ELSE account.refusal
  END AS outcome,
  account.user_id AS user_user_id, account.number AS user_number, account.name AS user_name,
  account.email AS user_email, account.picture AS user_picture,
  coalesce(charged.credits, account.credits) AS user_credits,
  coalesce(charged.version, account.version) AS user_version, account.first_purchased_at AS user_first_purchased_at,
  account.created_at AS user_created_at,
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
  written.user_id AS entry_user_id, written.number AS entry_number, written.kind AS entry_kind,
  written.amount AS entry_amount, written.balance_after AS entry_balance_after, written.video_id AS entry_video_id,
  written.attempt AS entry_attempt, written.idempotency_key AS entry_idempotency_key, written.actor AS entry_actor,
  written.memo AS entry_memo, written.created_at AS entry_created_at,
  CASE WHEN account.refusal = 'creations_exceeded' THEN account.creations::bigint END AS quota_used,
  CASE WHEN account.refusal = 'creations_exceeded' THEN (utc_today() + 1)::timestamp AT TIME ZONE 'UTC' END AS quota_resets_at
FROM (VALUES (1)) AS always (one)
LEFT JOIN earlier ON TRUE
LEFT JOIN account ON TRUE
LEFT JOIN charged ON TRUE
LEFT JOIN video ON TRUE
LEFT JOIN written ON TRUE
