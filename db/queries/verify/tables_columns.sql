-- Columns of credits that are no longer integers, whose range no balance may leave.
-- $1 user_id: the tables are everybody's, so they are looked at only when it is null.
WITH expected (relation, name) AS (
  VALUES
  ('users'::regclass, 'credits'),
  ('video_data'::regclass, 'cost'),
  ('credit_entries'::regclass, 'amount'),
  ('credit_entries'::regclass, 'balance_after')
)

SELECT
  NULL::uuid AS user_id,
  NULL::uuid AS video_id,
  NULL::bigint AS number,
  format('%s.%s is %s, not integer', expected.relation, expected.name, pg_attribute.atttypid::regtype) AS detail
FROM expected
INNER JOIN pg_attribute ON expected.relation = pg_attribute.attrelid AND expected.name = pg_attribute.attname
WHERE pg_attribute.atttypid <> 'integer'::regtype AND $1::uuid IS NULL
ORDER BY detail
