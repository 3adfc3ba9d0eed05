-- Constraints and unique indexes of the tables that are missing, not enforced, or were never checked against the rows before them.
-- $1 user_id: the tables are everybody's, so they are looked at only when it is null.
WITH expected AS (
  SELECT unnest(ARRAY[
    'users_user_id_once', 'users_number_once', 'users_credits_not_negative', 'users_entry_count_not_negative', 'users_subject_length',
    'users_version_positive', 'users_created_at_not_null', 'users_credits_not_null', 'users_entry_count_not_null', 'users_number_not_null',
    'users_subject_not_null', 'users_user_id_not_null', 'users_version_not_null',
    'video_data_id_once', 'video_data_idempotency_key_once', 'video_data_queue_number_once', 'video_data_user_id_exists',
    'video_data_attempt_positive', 'video_data_cost_positive', 'video_data_event_count_positive', 'video_data_idempotency_key_length',
    'video_data_music_track_whole', 'video_data_queue_number_while_queued', 'video_data_render_progress_completed',
    'video_data_render_progress_range', 'video_data_status_known', 'video_data_title_not_empty', 'video_data_version_positive',
    'video_data_voice_whole', 'video_data_volume_background_music_range', 'video_data_volume_voice_range', 'video_data_attempt_not_null',
    'video_data_cost_not_null', 'video_data_created_at_not_null', 'video_data_event_count_not_null', 'video_data_id_not_null',
    'video_data_idempotency_key_not_null', 'video_data_render_progress_not_null', 'video_data_status_not_null', 'video_data_title_not_null',
    'video_data_updated_at_not_null', 'video_data_user_id_not_null', 'video_data_version_not_null', 'video_data_video_style_not_null',
    'video_data_volume_background_music_not_null', 'video_data_volume_voice_not_null',
    'credit_entries_number_once', 'credit_entries_idempotency_key_once', 'credit_entries_kind_once', 'credit_entries_user_id_exists',
    'credit_entries_video_id_exists', 'credit_entries_actor_not_empty', 'credit_entries_amount_sign', 'credit_entries_attempt_of_video',
    'credit_entries_balance_after_follows', 'credit_entries_balance_after_not_negative', 'credit_entries_idempotency_key_length',
    'credit_entries_idempotency_key_of_kind', 'credit_entries_kind_known', 'credit_entries_number_positive',
    'credit_entries_request_hash_of_key', 'credit_entries_video_id_of_kind', 'credit_entries_actor_not_null',
    'credit_entries_amount_not_null', 'credit_entries_balance_after_not_null', 'credit_entries_created_at_not_null',
    'credit_entries_kind_not_null', 'credit_entries_number_not_null', 'credit_entries_user_id_not_null',
    'video_events_number_once', 'video_events_video_id_exists', 'video_events_actor_not_empty', 'video_events_attempt_positive',
    'video_events_number_positive', 'video_events_status_known', 'video_events_actor_not_null', 'video_events_attempt_not_null',
    'video_events_created_at_not_null', 'video_events_number_not_null', 'video_events_status_not_null', 'video_events_user_id_not_null',
    'video_events_video_id_not_null'
  ]) AS name
),

present AS (
  SELECT
    conname AS name,
    conenforced AS enforced,
    convalidated AS validated
  FROM pg_constraint
  WHERE conrelid IN ('users'::regclass, 'video_data'::regclass, 'credit_entries'::regclass, 'video_events'::regclass)
  UNION
  SELECT
    pg_class.relname,
    pg_index.indisunique AND pg_index.indisready,
    pg_index.indisvalid
  FROM pg_index INNER JOIN pg_class ON pg_index.indexrelid = pg_class.oid
  WHERE pg_index.indrelid IN ('users'::regclass, 'video_data'::regclass, 'credit_entries'::regclass, 'video_events'::regclass)
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
      ELSE 'not valid'
    END
  ) AS detail
FROM expected LEFT JOIN present ON expected.name = present.name
WHERE $1::uuid IS NULL
GROUP BY expected.name
HAVING bool_and(present.enforced AND present.validated) IS NOT TRUE
ORDER BY expected.name
