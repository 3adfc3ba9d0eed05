-- Constraints and unique indexes of the tables that are missing, not enforced, or were never checked against the rows before them;
-- and CHECKs that are not what was migrated. (What the functions in them do, tables_functions looks at.)
-- $1 user_id: the tables are everybody's, so they are looked at only when it is null.
WITH expected AS (
  SELECT unnest(ARRAY[
    'users_user_id_once', 'users_number_once', 'users_sound', 'users_created_at_not_null', 'users_credits_not_null',
    'users_entry_count_not_null', 'users_number_not_null', 'users_request_ids_not_null', 'users_subject_not_null',
    'users_user_id_not_null', 'users_version_not_null', 'users_stored_bytes_not_null', 'users_creations_not_null',
    'video_data_id_once', 'video_data_idempotency_key_once', 'video_data_queue_number_once', 'video_data_user_id_exists',
    'video_data_sound', 'video_data_attempt_not_null', 'video_data_cost_not_null', 'video_data_created_at_not_null',
    'video_data_event_count_not_null', 'video_data_id_not_null', 'video_data_idempotency_key_not_null',
    'video_data_render_progress_not_null', 'video_data_request_ids_not_null', 'video_data_saved_version_not_null', 'video_data_status_not_null',
    'video_data_title_not_null', 'video_data_updated_at_not_null', 'video_data_user_id_not_null', 'video_data_version_not_null',
    'video_data_video_style_not_null', 'video_data_volume_background_music_not_null', 'video_data_volume_voice_not_null',
    'video_contents_video_id_once', 'video_contents_video_id_exists', 'video_contents_user_id_not_null',
    'video_contents_video_id_not_null', 'video_contents_script_bytes_not_null', 'video_contents_caption_bytes_not_null',
    'video_contents_images_bytes_not_null', 'video_contents_caption_json_bytes_not_null', 'video_contents_config_bytes_not_null',
    'credit_entries_number_once', 'credit_entries_idempotency_key_once', 'credit_entries_kind_once', 'credit_entries_user_id_exists',
    'credit_entries_video_id_exists', 'credit_entries_sound', 'credit_entries_actor_not_null', 'credit_entries_amount_not_null',
    'credit_entries_balance_after_not_null', 'credit_entries_created_at_not_null', 'credit_entries_kind_not_null',
    'credit_entries_number_not_null', 'credit_entries_user_id_not_null',
    'video_events_number_once', 'video_events_video_id_exists', 'video_events_sound', 'video_events_actor_not_null',
    'video_events_attempt_not_null', 'video_events_created_at_not_null', 'video_events_number_not_null',
    'video_events_status_not_null', 'video_events_user_id_not_null', 'video_events_video_id_not_null'
  ]) AS name
),

expected_check (name, condition) AS (
  VALUES
  ('users_sound', 'users_sound(credits, entry_count, subject, version)'),
  (
    'video_data_sound',
    'video_data_sound(attempt, cost, event_count, idempotency_key, music_track_name, music_track_url, '
    || 'queue_number, render_progress, status, title, version, voice_id, voice_name, volume_background_music, volume_voice)'
  ),
  (
    'credit_entries_sound',
    'credit_entries_sound(actor, amount, attempt, balance_after, idempotency_key, kind, number, request_hash, video_id)'
  ),
  ('video_events_sound', 'video_events_sound(actor, attempt, number, status)')
),

present AS (
  SELECT
    conname AS name,
    conenforced AS enforced,
    convalidated AS validated,
    pg_get_expr(conbin, conrelid) AS condition
  FROM pg_constraint
  WHERE
    conrelid IN (
      'users'::regclass, 'video_data'::regclass, 'video_contents'::regclass, 'credit_entries'::regclass, 'video_events'::regclass
    )
  UNION
  SELECT
    pg_class.relname,
    pg_index.indisunique AND pg_index.indisready,
    pg_index.indisvalid,
    NULL
  FROM pg_index INNER JOIN pg_class ON pg_index.indexrelid = pg_class.oid
  WHERE pg_index.indrelid IN (
    'users'::regclass, 'video_data'::regclass, 'video_contents'::regclass, 'credit_entries'::regclass, 'video_events'::regclass
  )
)

SELECT
  NULL::uuid AS user_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format(
    '%s is %s', expected.name,
    CASE
      WHEN bool_and(present.enforced) IS NULL THEN 'missing'
      WHEN NOT bool_and(present.enforced) THEN 'not enforced'
      WHEN NOT bool_and(present.validated) THEN 'not valid'
      ELSE 'not what was migrated'
    END
  ) AS detail
FROM expected
LEFT JOIN present ON expected.name = present.name
LEFT JOIN expected_check ON expected.name = expected_check.name
WHERE $1::uuid IS NULL
GROUP BY expected.name
HAVING
  bool_and(
    present.enforced AND present.validated
    AND (expected_check.condition IS NULL OR expected_check.condition IS NOT DISTINCT FROM present.condition)
  ) IS NOT TRUE
ORDER BY expected.name
