-- Fill a migrated database with 4,000 users and their wallets, and 100,000 videos of every status, 40,000 of them the first user's,
-- with their ledgers and histories.
-- No trigger and no foreign key is looked at meanwhile, which spares most of the time.
SET session_replication_role = replica;

CREATE TEMPORARY TABLE making AS
SELECT
  n,
  owner.wallet_id,
  uuidv7() AS id,
  row_number() OVER (PARTITION BY owner.wallet_id ORDER BY n) AS nth,
  CASE
    WHEN n % 500 = 0 THEN 'RENDER_QUEUED'
    ELSE (ARRAY['COMPLETED', 'COMPLETED', 'COMPLETED', 'FAILED', 'RENDERING', 'QUEUED'])[1 + n % 6]
  END AS status
FROM generate_series(0, 99999) AS n
CROSS JOIN LATERAL (SELECT md5('user ' || CASE WHEN n < 40000 THEN 0 ELSE n % 4000 END)::uuid AS wallet_id) AS owner;

INSERT INTO video_data (
  wallet_id, user_id, id, idempotency_key, title, video_style, status, cost, event_count, render_progress, queue_id
)
SELECT
  wallet_id, wallet_id, id, 'key ' || nth, 'Whales', 'realistic', status, 1, 2,
  CASE WHEN status = 'COMPLETED' THEN 100 ELSE 0 END,
  CASE WHEN status = 'RENDER_QUEUED' THEN uuidv7() END
FROM making
ORDER BY n;

INSERT INTO video_contents (wallet_id, video_id, caption_json)
SELECT wallet_id, id, '{"sentences": []}' FROM making
WHERE status <> 'FAILED'
ORDER BY n;

INSERT INTO video_events (wallet_id, video_id, number, status, attempt, actor)
SELECT wallet_id, id, number, CASE WHEN number = 1 THEN 'QUEUED' ELSE status END, 1, 'WORKER:render-1'
FROM making CROSS JOIN generate_series(1, 2) AS number
ORDER BY n, number;

INSERT INTO credit_entries (
  wallet_id, number, kind, amount, balance_after, user_id, video_id, attempt, idempotency_key, request_hash, actor
)
SELECT
  wallet_id, row_number() OVER ledger, kind, amount, sum(amount) OVER ledger, wallet_id, video_id, attempt, key, sha256(key::bytea),
  'ADMIN:root'
FROM (
  SELECT 0 AS nth, wallet_id, 'SIGNUP' AS kind, 100000 AS amount, NULL::uuid AS video_id, NULL::integer AS attempt, NULL AS key
  FROM making
  WHERE nth = 1
  UNION ALL
  SELECT nth, wallet_id, 'CHARGE', -1, id, 1, 'key ' || nth FROM making
  UNION ALL
  SELECT nth, wallet_id, 'REFUND', 1, id, 1, NULL FROM making
  WHERE status = 'FAILED'
) AS entry
WINDOW ledger AS (PARTITION BY wallet_id ORDER BY nth, amount);

INSERT INTO wallets (wallet_id, credits, entry_count)
SELECT DISTINCT ON (wallet_id) wallet_id, balance_after, number FROM credit_entries
ORDER BY wallet_id ASC, number DESC;

INSERT INTO users (user_id, subject, request_id, request_ids)
SELECT wallet_id, wallet_id, 0, '{0}' FROM wallets;

SET session_replication_role = origin;
