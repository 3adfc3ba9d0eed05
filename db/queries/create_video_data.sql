-- Create a video for a user and charge what it costs, once per idempotency key.
-- $1 user_id, $2 idempotency_key, $3 request_hash (SHA-256 of the canonical arguments), $4 cost in credits, $5 actor, $6 title,
-- $7 video_style, $8 topic, $9 script, $10 caption, $11 voice_id, $12 voice_name, $13 created_by, $14 creations_max (of a day; null: any
-- number), $15 storage_max (bytes that the user's videos may hold together; null: any number), $16 request_id.
-- Always exactly one row: outcome, the user, the video and the CHARGE entry as far as they exist; when a quota refuses, how much of it is
-- used and when it resets. Outcomes in order of precedence:
--   idempotency_key_reused, replayed, user_not_found, stale, creations_exceeded, storage_exceeded, insufficient_credits, created.
-- A refusal leaves nothing behind, and the key stays free.
-- Race-free because the account is locked before it is judged: whoever comes second judges the balance that the first one left.
-- What the second one may not see is the first one's key (its snapshot is older than its wait). So the video, inserted before the charge,
-- meets the unique key, and where nothing was inserted although entries were added since the snapshot, the answer is 'stale': run it again.
-- A refusal under a snapshot that saw the newest entry is final.
-- A rerun, whose first reply was lost, finds its request id on the entry and answers as the first run did, with the rows as they are now.
WITH account AS (
  SELECT
    user_id, number, name, email, picture, credits, version, first_purchased_at, created_at, entry_count,
    creations_today(creations_day, creations) AS creations, stored_bytes,
    coalesce(octet_length($9), 0) AS script_bytes, json_bytes($10) AS caption_bytes,
    CASE
      WHEN creations_today(creations_day, creations) >= $14 THEN 'creations_exceeded'
      WHEN stored_bytes + video_stored_bytes(coalesce(octet_length($9), 0) + json_bytes($10)) > $15 THEN 'storage_exceeded'
      WHEN credits < $4 THEN 'insufficient_credits'
    END AS refusal
  FROM users
  WHERE user_id = $1
  FOR NO KEY UPDATE
),

earlier AS (
  SELECT
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at, request_hash,
    request_id
  FROM credit_entries
  WHERE user_id = $1 AND idempotency_key = $2
),

created AS (
  INSERT INTO video_data (
    user_id, idempotency_key, cost, title, video_style, topic, script, caption, voice_id, voice_name, created_by, script_bytes,
    caption_bytes
  )
  SELECT account.user_id, $2, $4, $6, $7, $8, $9, $10, $11, $12, $13, account.script_bytes, account.caption_bytes
  FROM account
  WHERE account.refusal IS NULL AND NOT EXISTS (SELECT FROM earlier)
  ON CONFLICT ON CONSTRAINT video_data_idempotency_key_once DO NOTHING
  RETURNING
    user_id, id, title, video_style, topic, voice_id, voice_name, music_track_name, music_track_url, audio_url,
    download_url, created_by, status, comments, render_progress, render_id, bucket_name, queue_number, queued_at,
    render_started_at, trashed_at, volume_background_music, volume_voice, attempt, cost, version, created_at,
    updated_at
),

-- The guard in the increment is for the snapshot's row: PostgreSQL computes that one first, and holds it against the constraints, before
-- it turns to the newest row, which is the locked account's and can bear it. (Were it not so, the trigger would refuse the balance.)
charged AS (
  UPDATE users SET
    credits = users.credits - CASE WHEN users.credits >= created.cost THEN created.cost ELSE 0 END,
    entry_count = users.entry_count + 1,
    version = users.version + 1,
    creations_day = utc_today(),
    creations = creations_today(users.creations_day, users.creations) + 1,
    stored_bytes = users.stored_bytes + video_stored_bytes(account.script_bytes + account.caption_bytes)
  FROM created CROSS JOIN account
  WHERE users.user_id = created.user_id
  RETURNING users.credits, users.entry_count, users.version
),

entry AS (
  INSERT INTO credit_entries (
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, request_hash, actor, request_id
  )
  SELECT created.user_id, charged.entry_count, 'CHARGE', -created.cost, charged.credits, created.id, created.attempt, $2, $3, $5, $16
  FROM created CROSS JOIN charged
  RETURNING
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at
),

event AS (
  INSERT INTO video_events (user_id, video_id, number, status, attempt, actor)
  SELECT user_id, id, 1, status, attempt, $5 FROM created
),

video AS (
  SELECT * FROM created
  UNION ALL
  SELECT
    present.user_id, present.id, present.title, present.video_style, present.topic, present.voice_id,
    present.voice_name, present.music_track_name, present.music_track_url, present.audio_url, present.download_url,
    present.created_by, present.status, present.comments, present.render_progress, present.render_id,
    present.bucket_name, present.queue_number, present.queued_at, present.render_started_at, present.trashed_at,
    present.volume_background_music, present.volume_voice, present.attempt, present.cost, present.version,
    present.created_at, present.updated_at
  FROM earlier INNER JOIN video_data AS present ON earlier.user_id = present.user_id AND earlier.video_id = present.id
),

written AS (
  SELECT * FROM entry
  UNION ALL
  SELECT
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, actor, memo, created_at
  FROM earlier
)

SELECT
  CASE
    WHEN earlier.request_hash <> $3 THEN 'idempotency_key_reused'
    WHEN earlier.request_id = $16 THEN 'created'
    WHEN earlier.number IS NOT NULL THEN 'replayed'
    WHEN written.number IS NOT NULL THEN 'created'
    WHEN account.user_id IS NULL THEN 'user_not_found'
    WHEN account.entry_count <> (
      SELECT seen.entry_count FROM users AS seen
      WHERE seen.user_id = $1
    ) THEN 'stale'
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
  CASE account.refusal
    WHEN 'creations_exceeded' THEN account.creations WHEN 'storage_exceeded' THEN account.stored_bytes
  END AS quota_used,
  CASE WHEN account.refusal = 'creations_exceeded' THEN (utc_today() + 1)::timestamp AT TIME ZONE 'UTC' END AS quota_resets_at
FROM (VALUES (1)) AS always (one)
LEFT JOIN account ON TRUE
LEFT JOIN earlier ON TRUE
LEFT JOIN charged ON TRUE
LEFT JOIN video ON TRUE
LEFT JOIN written ON TRUE
