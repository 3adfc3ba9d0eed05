-- Begin a new attempt at a FAILED or CANCELED video and charge what it costs now, once per idempotency key.
-- It takes 1 to 64 calls, sorted by wallet and video, as arrays: wallet_id, video_id, idempotency_key, request_hash (SHA-256 of the canonical
-- arguments), cost in credits, actor, creations_max (of a day; null: any number) and request_id. It answers each call, by its place in
-- the arrays, as if the calls ran one after the other: outcome; the wallet, the video and the CHARGE entry as far as they exist; and when
-- the quota refuses, its usage. Outcomes in order of precedence:
--   idempotency_key_reused, replayed, video_data_not_found, illegal_transition, creations_exceeded, insufficient_credits, restarted.
-- A rerun, whose first reply was lost, finds its request id on the entry and answers as the first run did, with the rows as they are now.
-- Race-free because the wallets and then the videos are locked, in the order of their ids, before they are read: every later statement
-- sees all that was committed before the locks, so a second retry finds the video QUEUED. The balance changes by a guarded increment.
CREATE OR REPLACE FUNCTION retry_video_data(
  wallet_id_of uuid[], video_id_of uuid[], idempotency_key_of text[], request_hash_of bytea[], cost_of integer[], actor_of text[],
  creations_max_of integer[], request_id_of bigint[]
) RETURNS TABLE (place integer, outcome text, wallet wallets, video video_data, entry credit_entries, quota quota)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  PERFORM FROM wallets WHERE wallet_id = ANY (wallet_id_of) ORDER BY wallet_id FOR NO KEY UPDATE;
  FOR i IN 1 .. cardinality(wallet_id_of) LOOP
    place := i;
    quota := NULL;
    SELECT * INTO video FROM video_data WHERE wallet_id = wallet_id_of[i] AND id = video_id_of[i] FOR NO KEY UPDATE;
    -- Locked again: the wallet and its video may have been created after the others were locked.
    SELECT * INTO wallet FROM wallets WHERE wallet_id = video.wallet_id FOR NO KEY UPDATE;
    SELECT * INTO entry FROM credit_entries WHERE wallet_id = wallet_id_of[i] AND idempotency_key = idempotency_key_of[i];
    outcome := CASE
      WHEN entry.request_hash <> request_hash_of[i] THEN 'idempotency_key_reused'
      WHEN entry.request_id = request_id_of[i] THEN 'restarted'
      WHEN entry.number IS NOT NULL THEN 'replayed'
      WHEN video.id IS NULL OR wallet.closed_at IS NOT NULL THEN 'video_data_not_found'
      WHEN NOT video_status_is_refunded(video.status) THEN 'illegal_transition'
      WHEN creations_today(wallet.creations_day, wallet.creations) >= creations_max_of[i] THEN 'creations_exceeded'
      WHEN wallet.credits < cost_of[i] THEN 'insufficient_credits'
    END;
    IF outcome IS NULL THEN
      outcome := 'restarted';
      UPDATE video_data SET
        status = 'QUEUED',
        attempt = attempt + 1,
        cost = cost_of[i],
        comments = NULL,
        render_progress = 0,
        render_id = NULL,
        bucket_name = NULL,
        queued_at = NULL,
        render_started_at = NULL,
        download_url = NULL,
        event_count = event_count + 1,
        version = version + 1,
        updated_at = now()
      WHERE wallet_id = wallet_id_of[i] AND id = video_id_of[i]
      RETURNING * INTO video;
      INSERT INTO video_events (wallet_id, video_id, number, status, attempt, actor)
      VALUES (video.wallet_id, video.id, video.event_count, video.status, video.attempt, actor_of[i]);
      INSERT INTO credit_entries (
        wallet_id, number, kind, amount, balance_after, user_id, video_id, attempt, idempotency_key, request_hash, actor, request_id
      ) VALUES (
        video.wallet_id, wallet.entry_count + 1, 'CHARGE', -cost_of[i], wallet.credits - cost_of[i], video.user_id, video.id,
        video.attempt, idempotency_key_of[i], request_hash_of[i], actor_of[i], request_id_of[i]
      ) RETURNING * INTO entry;
      UPDATE wallets SET
        credits = credits - cost_of[i],
        entry_count = entry_count + 1,
        version = version + 1,
        creations_day = utc_today(),
        creations = creations_today(creations_day, creations) + 1
      WHERE wallet_id = video.wallet_id AND credits >= cost_of[i]
      RETURNING * INTO STRICT wallet;
    ELSIF outcome = 'creations_exceeded' THEN
      quota := ROW (creations_today(wallet.creations_day, wallet.creations), (utc_today() + 1)::timestamp AT TIME ZONE 'UTC');
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;
