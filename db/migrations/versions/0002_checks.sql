-- The rules of the first tables' CHECKs, by their names, in one CHECK for each table: PostgreSQL reads and plans each CHECK anew for
-- every statement that writes to its table, but compiles a function once for each connection (docs/decisions/0013-checks.md).
-- What is wrong with a row is told as before: SQLSTATE 23514, the table, and the rule's name as the constraint's; of several broken
-- rules the first by name; and what is unknown (null) breaks no rule. The functions call nothing but PostgreSQL's own, since dumps
-- are restored with an empty search_path, and get only the columns that they read, since a whole row would be copied.

-- All at once, so that nothing is looked through while one is still waited for.
LOCK TABLE users, video_data, credit_entries, video_events;

CREATE FUNCTION users_sound(credits integer, entry_count bigint, subject text, version bigint) RETURNS boolean
IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN credits < 0 THEN 'users_credits_not_negative'
    WHEN entry_count < 0 THEN 'users_entry_count_not_negative'
    WHEN char_length(subject) NOT BETWEEN 1 AND 255 THEN 'users_subject_length'
    WHEN version <= 0 THEN 'users_version_positive'
  END;
BEGIN
  IF broken IS NOT NULL THEN
    RAISE EXCEPTION 'new row for relation "users" violates check constraint "%"', broken
      USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'users';
  END IF;
  RETURN TRUE;
END
$$;

ALTER TABLE users
DROP CONSTRAINT users_credits_not_negative,
DROP CONSTRAINT users_entry_count_not_negative,
DROP CONSTRAINT users_version_positive,
DROP CONSTRAINT users_subject_length,
ADD CONSTRAINT users_sound CHECK (
  users_sound(credits, entry_count, subject, version)
);

COMMENT ON CONSTRAINT users_sound ON users IS
'Many rules in one; \sf users_sound shows them, each with the name that an error tells.';

CREATE FUNCTION video_data_sound(
  attempt integer, cost integer, event_count integer, idempotency_key text, music_track_name text, music_track_url text,
  queue_number bigint, render_progress integer, status text, title text, version bigint, voice_id text, voice_name text,
  volume_background_music double precision, volume_voice double precision
) RETURNS boolean
IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN attempt <= 0 THEN 'video_data_attempt_positive'
    WHEN cost <= 0 THEN 'video_data_cost_positive'
    WHEN event_count <= 0 THEN 'video_data_event_count_positive'
    WHEN char_length(idempotency_key) NOT BETWEEN 1 AND 255 THEN 'video_data_idempotency_key_length'
    WHEN (music_track_name IS NULL) <> (music_track_url IS NULL) THEN 'video_data_music_track_whole'
    WHEN (status = 'RENDER_QUEUED') <> (queue_number IS NOT NULL) THEN 'video_data_queue_number_while_queued'
    WHEN status = 'COMPLETED' AND render_progress <> 100 THEN 'video_data_render_progress_completed'
    WHEN render_progress NOT BETWEEN 0 AND 100 THEN 'video_data_render_progress_range'
    WHEN status NOT IN (
      'QUEUED', 'GENERATING_AUDIO', 'GENERATING_CAPTIONS', 'GENERATING_IMAGE_PROMPTS', 'GENERATING_IMAGES',
      'READY', 'RENDER_QUEUED', 'RENDERING', 'COMPLETED', 'FAILED', 'CANCELED'
    ) THEN 'video_data_status_known'
    WHEN title = '' THEN 'video_data_title_not_empty'
    WHEN version <= 0 THEN 'video_data_version_positive'
    WHEN (voice_id IS NULL) <> (voice_name IS NULL) THEN 'video_data_voice_whole'
    WHEN volume_background_music NOT BETWEEN 0 AND 1 THEN 'video_data_volume_background_music_range'
    WHEN volume_voice NOT BETWEEN 0 AND 1 THEN 'video_data_volume_voice_range'
  END;
BEGIN
  IF broken IS NOT NULL THEN
    RAISE EXCEPTION 'new row for relation "video_data" violates check constraint "%"', broken
      USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'video_data';
  END IF;
  RETURN TRUE;
END
$$;

ALTER TABLE video_data
DROP CONSTRAINT video_data_idempotency_key_length,
DROP CONSTRAINT video_data_title_not_empty,
DROP CONSTRAINT video_data_status_known,
DROP CONSTRAINT video_data_render_progress_range,
DROP CONSTRAINT video_data_render_progress_completed,
DROP CONSTRAINT video_data_queue_number_while_queued,
DROP CONSTRAINT video_data_voice_whole,
DROP CONSTRAINT video_data_music_track_whole,
DROP CONSTRAINT video_data_volume_background_music_range,
DROP CONSTRAINT video_data_volume_voice_range,
DROP CONSTRAINT video_data_attempt_positive,
DROP CONSTRAINT video_data_cost_positive,
DROP CONSTRAINT video_data_event_count_positive,
DROP CONSTRAINT video_data_version_positive,
ADD CONSTRAINT video_data_sound CHECK (
  video_data_sound(
    attempt, cost, event_count, idempotency_key, music_track_name, music_track_url, queue_number, render_progress, status,
    title, version, voice_id, voice_name, volume_background_music, volume_voice
  )
);

COMMENT ON CONSTRAINT video_data_sound ON video_data IS
'Many rules in one; \sf video_data_sound shows them, each with the name that an error tells.';

CREATE FUNCTION credit_entries_sound(
  actor text, amount integer, attempt integer, balance_after integer, idempotency_key text, kind text, number bigint,
  request_hash bytea, video_id uuid
) RETURNS boolean
IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN actor = '' THEN 'credit_entries_actor_not_empty'
    WHEN
      NOT CASE WHEN kind = 'CHARGE' THEN amount < 0 WHEN kind IN ('REFUND', 'SIGNUP') THEN amount > 0 ELSE amount <> 0 END
      THEN 'credit_entries_amount_sign'
    WHEN (video_id IS NULL) <> (attempt IS NULL) THEN 'credit_entries_attempt_of_video'
    WHEN
      NOT CASE WHEN number = 1 THEN balance_after = amount ELSE balance_after::bigint - amount BETWEEN 0 AND 2147483647 END
      THEN 'credit_entries_balance_after_follows'
    WHEN balance_after < 0 THEN 'credit_entries_balance_after_not_negative'
    WHEN char_length(idempotency_key) NOT BETWEEN 1 AND 255 THEN 'credit_entries_idempotency_key_length'
    WHEN (kind IN ('SIGNUP', 'REFUND')) <> (idempotency_key IS NULL) THEN 'credit_entries_idempotency_key_of_kind'
    WHEN kind NOT IN ('SIGNUP', 'PURCHASE', 'REWARD', 'ADJUSTMENT', 'CHARGE', 'REFUND') THEN 'credit_entries_kind_known'
    WHEN number <= 0 THEN 'credit_entries_number_positive'
    WHEN (idempotency_key IS NULL) <> (request_hash IS NULL) OR octet_length(request_hash) <> 32
      THEN 'credit_entries_request_hash_of_key'
    WHEN (kind IN ('CHARGE', 'REFUND')) <> (video_id IS NOT NULL) THEN 'credit_entries_video_id_of_kind'
  END;
BEGIN
  IF broken IS NOT NULL THEN
    RAISE EXCEPTION 'new row for relation "credit_entries" violates check constraint "%"', broken
      USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'credit_entries';
  END IF;
  RETURN TRUE;
END
$$;

ALTER TABLE credit_entries
DROP CONSTRAINT credit_entries_number_positive,
DROP CONSTRAINT credit_entries_kind_known,
DROP CONSTRAINT credit_entries_amount_sign,
DROP CONSTRAINT credit_entries_balance_after_not_negative,
DROP CONSTRAINT credit_entries_balance_after_follows,
DROP CONSTRAINT credit_entries_video_id_of_kind,
DROP CONSTRAINT credit_entries_attempt_of_video,
DROP CONSTRAINT credit_entries_idempotency_key_of_kind,
DROP CONSTRAINT credit_entries_idempotency_key_length,
DROP CONSTRAINT credit_entries_request_hash_of_key,
DROP CONSTRAINT credit_entries_actor_not_empty,
ADD CONSTRAINT credit_entries_sound CHECK (
  credit_entries_sound(
    actor, amount, attempt, balance_after, idempotency_key, kind, number, request_hash, video_id
  )
);

COMMENT ON CONSTRAINT credit_entries_sound ON credit_entries IS
'Many rules in one; \sf credit_entries_sound shows them, each with the name that an error tells.';

CREATE FUNCTION video_events_sound(actor text, attempt integer, number integer, status text) RETURNS boolean
IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN actor = '' THEN 'video_events_actor_not_empty'
    WHEN attempt <= 0 THEN 'video_events_attempt_positive'
    WHEN number <= 0 THEN 'video_events_number_positive'
    WHEN status NOT IN (
      'QUEUED', 'GENERATING_AUDIO', 'GENERATING_CAPTIONS', 'GENERATING_IMAGE_PROMPTS', 'GENERATING_IMAGES',
      'READY', 'RENDER_QUEUED', 'RENDERING', 'COMPLETED', 'FAILED', 'CANCELED'
    ) THEN 'video_events_status_known'
  END;
BEGIN
  IF broken IS NOT NULL THEN
    RAISE EXCEPTION 'new row for relation "video_events" violates check constraint "%"', broken
      USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'video_events';
  END IF;
  RETURN TRUE;
END
$$;

ALTER TABLE video_events
DROP CONSTRAINT video_events_number_positive,
DROP CONSTRAINT video_events_status_known,
DROP CONSTRAINT video_events_attempt_positive,
DROP CONSTRAINT video_events_actor_not_empty,
ADD CONSTRAINT video_events_sound CHECK (
  video_events_sound(actor, attempt, number, status)
);

COMMENT ON CONSTRAINT video_events_sound ON video_events IS
'Many rules in one; \sf video_events_sound shows them, each with the name that an error tells.';
