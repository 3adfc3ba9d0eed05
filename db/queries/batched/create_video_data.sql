-- `create_video_data` for many calls at once: all of a user's calls, or none of them.
-- $1 to $16 its parameters, each an array with one element for each call; $10 caption is text[], as JSON.
-- A row for each call that created a video, as `create_video_data` answers it, and `place`, the call's place in the arrays.
-- Nothing is done, and no row answers, for a user one of whose calls is a replay (of another one here, too), or whose credits or quotas
-- do not suffice for all of them, by the snapshot or by now: `create_video_data` is to judge these one by one.
-- Race-free because accounts are locked, in the order of their ids, and the increment's own condition holds for the balance that it
-- changes. What each call finds and leaves is reckoned from what the increment returns: calls go by their places. Two first attempts
-- under one key meet in the unique constraint (23505: nothing is done for anybody).
WITH call AS (
  SELECT
    user_id, idempotency_key, request_hash, cost, actor, title, video_style, topic, script, caption::jsonb AS caption, voice_id,
    voice_name, created_by, creations_max, storage_max, request_id, place,
    sum(cost) OVER user_calls AS cost_so_far,
    row_number() OVER user_calls AS nth
  FROM
    unnest(
      $1::uuid[], $2::text[], $3::bytea[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
      $11::text[], $12::text[], $13::text[], $14::integer[], $15::bigint[], $16::bigint[]
    ) WITH ORDINALITY
      AS given (
        user_id, idempotency_key, request_hash, cost, actor, title, video_style, topic, script, caption, voice_id, voice_name,
        created_by, creations_max, storage_max, request_id, place
      )
  WINDOW user_calls AS (PARTITION BY user_id ORDER BY place ROWS UNBOUNDED PRECEDING)
),

wanted AS (
  SELECT
    user_id,
    max(cost_so_far) AS cost,
    max(nth) AS calls,
    sum(video_stored_bytes(coalesce(octet_length(script), 0) + json_bytes(caption))) AS stored_bytes,
    min(creations_max) AS creations_max,
    min(storage_max) AS storage_max
  FROM call
  GROUP BY user_id
  HAVING count(DISTINCT idempotency_key) = count(*)
),

account AS (
  SELECT
    users.user_id, wanted.cost, wanted.calls, wanted.stored_bytes, wanted.creations_max, wanted.storage_max
  FROM wanted INNER JOIN users ON wanted.user_id = users.user_id
  WHERE
    users.credits >= wanted.cost
    AND coalesce(creations_today(users.creations_day, users.creations) + wanted.calls <= wanted.creations_max, TRUE)
    AND coalesce(users.stored_bytes + wanted.stored_bytes <= wanted.storage_max, TRUE)
    AND NOT EXISTS (
      SELECT FROM call INNER JOIN credit_entries AS earlier
        ON call.user_id = earlier.user_id AND call.idempotency_key = earlier.idempotency_key
      WHERE call.user_id = wanted.user_id
    )
  ORDER BY users.user_id
  FOR NO KEY UPDATE OF users
),

charged AS (
  UPDATE users SET
    credits = users.credits - account.cost,
    entry_count = users.entry_count + account.calls,
    version = users.version + account.calls,
    creations_day = utc_today(),
    creations = creations_today(users.creations_day, users.creations) + account.calls,
    stored_bytes = users.stored_bytes + account.stored_bytes
  FROM account
  WHERE
    users.user_id = account.user_id AND users.credits >= account.cost
    AND coalesce(creations_today(users.creations_day, users.creations) + account.calls <= account.creations_max, TRUE)
    AND coalesce(users.stored_bytes + account.stored_bytes <= account.storage_max, TRUE)
  RETURNING
    users.user_id, users.number, users.name, users.email, users.picture, users.first_purchased_at, users.created_at,
    old.credits AS credits_before, old.version AS version_before, old.entry_count AS entry_count_before
),

paid AS (
  SELECT
    call.*,
    charged.number, charged.name, charged.email, charged.picture, charged.first_purchased_at, charged.created_at,
    (charged.credits_before - call.cost_so_far)::integer AS balance,
    charged.version_before + call.nth AS version,
    charged.entry_count_before + call.nth AS entry_number,
    uuidv7() AS video_id
  FROM charged INNER JOIN call ON charged.user_id = call.user_id
  ORDER BY call.place
),

created AS (
  INSERT INTO video_data (
    user_id, id, idempotency_key, cost, title, video_style, topic, script, caption, voice_id, voice_name, created_by, script_bytes,
    caption_bytes
  )
  SELECT
    user_id, video_id, idempotency_key, cost, title, video_style, topic, script, caption, voice_id, voice_name, created_by,
    coalesce(octet_length(script), 0), json_bytes(caption)
  FROM paid
),

entry AS (
  INSERT INTO credit_entries (
    user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, request_hash, actor, request_id
  )
  SELECT
    user_id,
    entry_number,
    'CHARGE',
    -cost, balance, video_id,
    1,
    idempotency_key, request_hash, actor, request_id
  FROM paid
),

event AS (
  INSERT INTO video_events (user_id, video_id, number, status, attempt, actor)
  SELECT
    user_id,
    video_id,
    1,
    'QUEUED',
    1,
    actor
  FROM paid
)

-- Said anew, not RETURNING: to take each row along through the statement would cost more than to make it. (A test compares.)
SELECT
  'created' AS outcome,
  user_id AS user_user_id, number AS user_number, name AS user_name, email AS user_email, picture AS user_picture,
  balance AS user_credits, version AS user_version, first_purchased_at AS user_first_purchased_at,
  created_at AS user_created_at,
  user_id AS video_user_id, video_id, title AS video_title, video_style AS video_video_style, topic AS video_topic,
  voice_id AS video_voice_id, voice_name AS video_voice_name, NULL AS video_music_track_name,
  NULL AS video_music_track_url, NULL AS video_audio_url, NULL AS video_download_url, created_by AS video_created_by,
  'QUEUED' AS video_status, NULL::jsonb AS video_comments, 0 AS video_render_progress, NULL AS video_render_id,
  NULL AS video_bucket_name, NULL::bigint AS video_queue_number, NULL::timestamptz AS video_queued_at,
  NULL::timestamptz AS video_render_started_at, NULL::timestamptz AS video_trashed_at,
  0.4::double precision AS video_volume_background_music, 1::double precision AS video_volume_voice,
  1 AS video_attempt, cost AS video_cost, 1::bigint AS video_version,
  now() AS video_created_at, now() AS video_updated_at,
  user_id AS entry_user_id, entry_number, 'CHARGE' AS entry_kind, -cost AS entry_amount,
  balance AS entry_balance_after, video_id AS entry_video_id, 1 AS entry_attempt,
  idempotency_key AS entry_idempotency_key, actor AS entry_actor, NULL AS entry_memo, now() AS entry_created_at,
  NULL::bigint AS quota_used, NULL::timestamptz AS quota_resets_at,
  place
FROM paid
