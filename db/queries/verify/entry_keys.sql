-- Entries whose idempotency key is missing or there for nothing, another entry's too, too long, or without its request's SHA-256.
-- $1 wallet_id (null: all wallets).
WITH repeated AS (
  SELECT wallet_id, idempotency_key
  FROM credit_entries
  WHERE idempotency_key IS NOT NULL AND ($1::uuid IS NULL OR wallet_id = $1)
  GROUP BY wallet_id, idempotency_key
  HAVING count(*) > 1
),

judged AS (
  SELECT
    entry.wallet_id, entry.video_id, entry.number,
    CASE
      WHEN entry.idempotency_key IS NULL AND entry.kind NOT IN ('SIGNUP', 'REFUND') THEN entry.kind || ' without an idempotency key'
      WHEN entry.idempotency_key IS NOT NULL AND entry.kind IN ('SIGNUP', 'REFUND') THEN entry.kind || ' with an idempotency key'
      WHEN repeated.wallet_id IS NOT NULL THEN 'the idempotency key is another entry''s too'
      WHEN char_length(entry.idempotency_key) NOT BETWEEN 1 AND 255 THEN 'the idempotency key does not have 1 to 255 characters'
      WHEN (entry.idempotency_key IS NULL) <> (entry.request_hash IS NULL) OR octet_length(entry.request_hash) <> 32
        THEN 'the idempotency key does not have the SHA-256 of its request'
    END AS fault
  FROM credit_entries AS entry
  LEFT JOIN repeated ON entry.wallet_id = repeated.wallet_id AND entry.idempotency_key = repeated.idempotency_key
  WHERE $1::uuid IS NULL OR entry.wallet_id = $1
)

SELECT
  wallet_id,
  video_id,
  number,
  fault AS detail
FROM judged
WHERE fault IS NOT NULL
ORDER BY wallet_id, number
