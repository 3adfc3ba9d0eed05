-- Triggers of the tables that are missing, are not what was migrated, or do not fire; those that hold the foreign keys too.
-- $1 user_id: the tables are everybody's, so they are looked at only when it is null.
WITH expected (relation, name, function_name, fires, conditional) AS ( -- fires: bits of pg_trigger.tgtype
  VALUES
  ('credit_entries'::regclass, 'credit_entries_append_only', 'refuse_change', 58, FALSE),
  ('video_events'::regclass, 'video_events_append_only', 'refuse_change', 58, FALSE),
  ('users'::regclass, 'users_credits_explained_from_the_start', 'require_explained_credits', 5, FALSE),
  ('users'::regclass, 'users_credits_explained', 'require_explained_credits', 17, TRUE)
),

faults AS (
  SELECT format('trigger %s is missing or not what was migrated', expected.name) AS detail
  FROM expected
  LEFT JOIN pg_trigger
    ON
      expected.relation = pg_trigger.tgrelid AND expected.name = pg_trigger.tgname AND expected.fires = pg_trigger.tgtype
      AND to_regproc(expected.function_name) = pg_trigger.tgfoid AND expected.conditional = (pg_trigger.tgqual IS NOT NULL)
  WHERE pg_trigger.oid IS NULL
  UNION ALL
  SELECT format('trigger %s of %s is disabled', coalesce(pg_constraint.conname, pg_trigger.tgname), pg_trigger.tgrelid::regclass)
  FROM pg_trigger
  LEFT JOIN pg_constraint ON pg_trigger.tgconstraint = pg_constraint.oid
  WHERE
    pg_trigger.tgrelid IN (
      'users'::regclass, 'video_data'::regclass, 'video_contents'::regclass, 'credit_entries'::regclass, 'video_events'::regclass
    )
    AND pg_trigger.tgenabled NOT IN ('O', 'A')
  UNION ALL
  SELECT 'session_replication_role is replica by default, so no trigger fires'
  WHERE current_setting('session_replication_role') = 'replica'
)

SELECT
  NULL::uuid AS user_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  detail
FROM faults
WHERE $1::uuid IS NULL
ORDER BY detail
