-- Erase a person from entries ($1 wallet_ids and $2 numbers): those for $3 user_id lose memo and key, which a video has from the CHARGE of
-- its first attempt, and where one of $4 actors is the actor, the subject becomes $5 pseudonym.
-- These videos are locked in the order of their ids, as by mutations.
WITH created AS (
  SELECT
    video.wallet_id,
    video.id,
    charge.number
  FROM unnest($1::uuid[], $2::bigint[]) AS given (wallet_id, number)
  INNER JOIN credit_entries AS charge ON given.wallet_id = charge.wallet_id AND given.number = charge.number
  INNER JOIN video_data AS video ON charge.wallet_id = video.wallet_id AND charge.video_id = video.id
  WHERE charge.user_id = $3 AND charge.kind = 'CHARGE' AND charge.attempt = 1
  ORDER BY video.wallet_id, video.id
  FOR NO KEY UPDATE OF video
),

entry AS (
  UPDATE credit_entries SET
    actor = CASE WHEN actor = any($4) THEN split_part(actor, ':', 1) || ':' || $5 ELSE actor END,
    memo = CASE WHEN user_id <> $3 THEN memo END,
    idempotency_key = CASE
      WHEN user_id = $3 AND NOT is_pseudonym(idempotency_key) THEN 'erased:' || gen_random_uuid() ELSE idempotency_key
    END,
    request_hash = CASE WHEN user_id <> $3 THEN request_hash WHEN request_hash IS NOT NULL THEN decode(repeat('00', 32), 'hex') END
  FROM unnest($1::uuid[], $2::bigint[]) AS given (wallet_id, number)
  WHERE credit_entries.wallet_id = given.wallet_id AND credit_entries.number = given.number
  RETURNING credit_entries.wallet_id, credit_entries.number, credit_entries.idempotency_key
),

video AS (
  UPDATE video_data SET idempotency_key = entry.idempotency_key
  FROM created INNER JOIN entry ON created.wallet_id = entry.wallet_id AND created.number = entry.number
  WHERE video_data.wallet_id = created.wallet_id AND video_data.id = created.id
)

SELECT count(*) FROM entry
