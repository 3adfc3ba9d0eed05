-- Fill a migrated database with 4,000 users and 100,000 videos of every status, 40,000 of them the first user's, with their ledgers
-- and histories.
-- No trigger and no foreign key is looked at meanwhile, which spares most of the time.
SET session_replication_role = replica;

CREATE TEMPORARY TABLE making AS
SELECT
  n,
  owner.user_id,
  uuidv7() AS id,
  row_number() OVER (PARTITION BY owner.user_id ORDER BY n) AS nth,
  CASE
    WHEN n % 500 = 0 THEN 'RENDER_QUEUED'
    ELSE (ARRAY['COMPLETED', 'COMPLETED', 'COMPLETED', 'FAILED', 'RENDERING', 'QUEUED'])[1 + n % 6]
  END AS status
FROM generate_series(0, 99999) AS n
CROSS JOIN LATERAL (SELECT md5('user ' || CASE WHEN n < 40000 THEN 0 ELSE n % 4000 END)::uuid AS user_id) AS owner;

INSERT INTO video_data (
  user_id, id, idempotency_key, title, video_style, status, cost, event_count, render_progress, queue_number
)
SELECT
  user_id, id, 'key ' || nth, 'Whales', 'realistic', status, 1, 2,
  CASE WHEN status = 'COMPLETED' THEN 100 ELSE 0 END,
  CASE WHEN status = 'RENDER_QUEUED' THEN n END
FROM making
ORDER BY n;

INSERT INTO video_contents (user_id, video_id, caption_json)
SELECT user_id, id, '{"sentences": []}' FROM making
WHERE status <> 'FAILED'
ORDER BY n;

INSERT INTO video_events (user_id, video_id, number, status, attempt, actor)
SELECT user_id, id, number, CASE WHEN number = 1 THEN 'QUEUED' ELSE status END, 1, 'WORKER:render-1'
FROM making CROSS JOIN generate_series(1, 2) AS number
ORDER BY n, number;

INSERT INTO credit_entries (
  user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, request_hash, actor
)
SELECT
  user_id, row_number() OVER ledger, kind, amount, sum(amount) OVER ledger, video_id, attempt, key, sha256(key::bytea), 'ADMIN:root'
FROM (
  SELECT 0 AS nth, user_id, 'SIGNUP' AS kind, 100000 AS amount, NULL::uuid AS video_id, NULL::integer AS attempt, NULL AS key
  FROM making
  WHERE nth = 1
  UNION ALL
  SELECT nth, user_id, 'CHARGE', -1, id, 1, 'key ' || nth FROM making
  UNION ALL
  SELECT nth, user_id, 'REFUND', 1, id, 1, NULL FROM making
  WHERE status = 'FAILED'
) AS entry
WINDOW ledger AS (PARTITION BY user_id ORDER BY nth, amount);

INSERT INTO users (user_id, subject, credits, entry_count)
SELECT DISTINCT ON (user_id) user_id, user_id, balance_after, number FROM credit_entries
ORDER BY user_id ASC, number DESC;

SET session_replication_role = origin;
