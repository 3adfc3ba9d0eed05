-- Functions that the tables rely on and that are not what was migrated: the triggers' and the CHECKs' by their text, the lifecycle's by
-- what they allow.
-- $1 user_id: the tables are everybody's, so they are looked at only when it is null.
WITH expected_text (name, digest) AS ( -- digest: of its arguments and its text
  VALUES
  ('refuse_change', 'cb91ea9bea74174d04440f008e05a4ea'),
  ('require_explained_credits', '843e201f56467b2dad2649e0987960c5'),
  ('users_sound', '6483f98650dd363c76388ff590c191a0'),
  ('video_data_sound', 'd2e838b553d3038362b67ce1bf30e683'),
  ('credit_entries_sound', 'd34cd6509af594b052259a5fb890a706'),
  ('video_events_sound', 'd7e94eb252392f1ee8d6b89dba4e457d')
),

expected_moves (present, moves) AS ( -- a status, and to how many others it may move: the later ones, and FAILED and CANCELED
  VALUES
  ('QUEUED', 10), ('GENERATING_AUDIO', 9), ('GENERATING_CAPTIONS', 8), ('GENERATING_IMAGE_PROMPTS', 7), ('GENERATING_IMAGES', 6),
  ('READY', 5), ('RENDER_QUEUED', 4), ('RENDERING', 3), ('COMPLETED', 0), ('FAILED', 0), ('CANCELED', 0)
),

faults AS (
  SELECT format('function %s is not what was migrated', expected_text.name) AS detail
  FROM expected_text
  LEFT JOIN pg_proc
    ON
      to_regproc(expected_text.name) = pg_proc.oid
      AND expected_text.digest = md5(pg_get_function_arguments(pg_proc.oid) || pg_proc.prosrc)
      AND NOT pg_proc.proisstrict -- a strict function would let pass every row with a null
  WHERE pg_proc.oid IS NULL
  UNION ALL
  SELECT
    format(
      'function video_status_may_follow allows %s moves from %s, the lifecycle %s',
      count(*) FILTER (WHERE video_status_may_follow(expected.present, following.present)), expected.present, expected.moves
    )
  FROM expected_moves AS expected CROSS JOIN expected_moves AS following
  GROUP BY expected.present, expected.moves
  HAVING count(*) FILTER (WHERE video_status_may_follow(expected.present, following.present)) <> expected.moves
)

SELECT
  NULL::uuid AS user_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  detail
FROM faults
WHERE $1::uuid IS NULL
ORDER BY detail
