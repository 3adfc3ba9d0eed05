-- Create a video and charge a wallet for it, once per idempotency key.
-- It takes 1 to 64 calls, sorted by wallet, as arrays: wallet_id, idempotency_key, request_hash (SHA-256 of the canonical arguments),
-- user_id (whose video it is), cost in credits, actor, the video's columns (caption: JSON), creations_max (of a day; null: any number),
-- storage_max (bytes that the wallet's videos may hold together; null: any number) and request_id. It answers each call, by its place in
-- the arrays, as if the calls ran one after the other: outcome; the wallet, the video and the CHARGE entry as far as they exist; and when
-- a quota refuses, its usage. Outcomes in order of precedence:
--   idempotency_key_reused, replayed, user_not_found, creations_exceeded, storage_exceeded, insufficient_credits, created.
-- A refusal leaves nothing behind, and the key stays free. A rerun, whose first reply was lost, finds its request id on the entry and
-- answers as the first run did, with the rows as they are now.
-- Race-free because each wallet is locked, in the order of their ids, when its balance is read and before its entries are: every later
-- statement sees all that was committed before the lock. The balance changes by one guarded increment.
CREATE OR REPLACE FUNCTION create_video_data(
  wallet_id_of uuid[], idempotency_key_of text[], request_hash_of bytea[], user_id_of uuid[], cost_of integer[], actor_of text[],
  title_of text[], video_style_of text[], topic_of text[], script_of text[], caption_of text[], voice_id_of text[],
  voice_name_of text[], created_by_of text[], creations_max_of integer[], storage_max_of bigint[], request_id_of bigint[]
) RETURNS TABLE (place integer, outcome text, wallet wallets, video video_data, entry credit_entries, quota quota)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  judged integer := 0;
  keys text[];
  caption_bytes integer;
  stored_bytes bigint;
  -- Of the calls that create a video, in this order:
  calls integer[];
  ids uuid[];
  caption_sizes integer[];
  sizes bigint[];
  changed_wallets wallets[];
  numbers bigint[];
  balances integer[];
  written integer;
BEGIN
  WHILE judged < cardinality(wallet_id_of) LOOP
    calls := '{}';
    ids := '{}';
    caption_sizes := '{}';
    sizes := '{}';
    changed_wallets := '{}';
    numbers := '{}';
    balances := '{}';
    wallet := NULL;
    FOR i IN judged + 1 .. cardinality(wallet_id_of) LOOP
      IF wallet.wallet_id IS DISTINCT FROM wallet_id_of[i] THEN
        SELECT * INTO wallet FROM wallets WHERE wallet_id = wallet_id_of[i] FOR NO KEY UPDATE;
        keys := '{}';
      END IF;
      EXIT WHEN idempotency_key_of[i] = ANY (keys); -- It is a replay of a call whose entry must be written first.
      judged := i;
      place := i;
      video := NULL;
      quota := NULL;
      SELECT * INTO entry FROM credit_entries WHERE wallet_id = wallet_id_of[i] AND idempotency_key = idempotency_key_of[i];
      IF FOUND THEN
        outcome := CASE
          WHEN entry.request_hash <> request_hash_of[i] THEN 'idempotency_key_reused'
          WHEN entry.request_id = request_id_of[i] THEN 'created'
          ELSE 'replayed'
        END;
        SELECT * INTO video FROM video_data WHERE wallet_id = wallet_id_of[i] AND id = entry.video_id;
        RETURN NEXT;
        CONTINUE;
      END IF;
      caption_bytes := json_bytes(caption_of[i]::jsonb);
      stored_bytes := video_stored_bytes(coalesce(octet_length(script_of[i]), 0) + caption_bytes);
      wallet.creations := creations_today(wallet.creations_day, wallet.creations);
      wallet.creations_day := utc_today();
      outcome := CASE
        WHEN wallet.wallet_id IS NULL OR wallet.closed_at IS NOT NULL THEN 'user_not_found'
        WHEN wallet.creations >= creations_max_of[i] THEN 'creations_exceeded'
        WHEN wallet.stored_bytes + stored_bytes > storage_max_of[i] THEN 'storage_exceeded'
        WHEN wallet.credits < cost_of[i] THEN 'insufficient_credits'
        ELSE 'created'
      END;
      CASE outcome
        WHEN 'created' THEN
          wallet.credits := wallet.credits - cost_of[i];
          wallet.entry_count := wallet.entry_count + 1;
          wallet.version := wallet.version + 1;
          wallet.creations := wallet.creations + 1;
          wallet.stored_bytes := wallet.stored_bytes + stored_bytes;
          keys := keys || idempotency_key_of[i];
          calls := calls || i;
          ids := ids || uuidv7();
          caption_sizes := caption_sizes || caption_bytes;
          sizes := sizes || stored_bytes;
          changed_wallets := changed_wallets || wallet;
          numbers := numbers || wallet.entry_count;
          balances := balances || wallet.credits;
          CONTINUE;
        WHEN 'user_not_found' THEN
          wallet := NULL;
        WHEN 'creations_exceeded' THEN
          quota := ROW (wallet.creations, (utc_today() + 1)::timestamp AT TIME ZONE 'UTC');
        WHEN 'storage_exceeded' THEN
          quota := ROW (wallet.stored_bytes, NULL);
        ELSE
          NULL;
      END CASE;
      RETURN NEXT;
    END LOOP;
    CONTINUE WHEN calls = '{}';
    RETURN QUERY
    WITH creation AS (
      SELECT *
      FROM unnest(calls, ids, caption_sizes, sizes, numbers, balances)
      WITH ORDINALITY AS accepted (i, id, caption_bytes, stored_bytes, number, balance, nth)
    ),

    created AS (
      INSERT INTO video_data AS created (
        wallet_id, id, user_id, idempotency_key, cost, title, video_style, topic, voice_id, voice_name, created_by
      )
      SELECT
        wallet_id_of[i], id, user_id_of[i], idempotency_key_of[i], cost_of[i], title_of[i], video_style_of[i], topic_of[i],
        voice_id_of[i], voice_name_of[i], created_by_of[i]
      FROM creation
      RETURNING id, created AS video
    ),

    content AS (
      INSERT INTO video_contents (wallet_id, video_id, script, caption, script_bytes, caption_bytes)
      SELECT
        wallet_id_of[i], id, script_of[i], caption_of[i]::jsonb, coalesce(octet_length(script_of[i]), 0), caption_bytes
      FROM creation
      WHERE script_of[i] IS NOT NULL OR caption_of[i] IS NOT NULL
    ),

    charge AS (
      INSERT INTO credit_entries AS charge (
        wallet_id, number, kind, amount, balance_after, user_id, video_id, attempt, idempotency_key, request_hash, actor, request_id
      )
      SELECT
        wallet_id_of[i], number, 'CHARGE', -cost_of[i], balance, user_id_of[i], id, 1, idempotency_key_of[i], request_hash_of[i],
        actor_of[i], request_id_of[i]
      FROM creation
      RETURNING video_id, charge AS entry
    ),

    event AS (
      INSERT INTO video_events (wallet_id, video_id, number, status, attempt, actor)
      SELECT wallet_id_of[i], id, 1, 'QUEUED', 1, actor_of[i] FROM creation
    ),

    total AS (
      SELECT wallet_id_of[i] AS wallet_id, sum(cost_of[i]) AS cost, count(*) AS calls, sum(stored_bytes) AS stored_bytes
      FROM creation
      GROUP BY wallet_id_of[i]
    ),

    charged AS (
      UPDATE wallets SET
        credits = wallets.credits - total.cost,
        entry_count = wallets.entry_count + total.calls,
        version = wallets.version + total.calls,
        creations_day = utc_today(),
        creations = creations_today(wallets.creations_day, wallets.creations) + total.calls,
        stored_bytes = wallets.stored_bytes + total.stored_bytes
      FROM total
      WHERE wallets.wallet_id = total.wallet_id AND wallets.credits >= total.cost
      RETURNING wallets.wallet_id
    )

    SELECT creation.i, 'created', changed_wallets[creation.nth], created.video, charge.entry, NULL::quota
    FROM creation
    INNER JOIN charged ON wallet_id_of[creation.i] = charged.wallet_id
    INNER JOIN created ON creation.id = created.id
    INNER JOIN charge ON creation.id = charge.video_id;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written <> cardinality(calls) THEN
      RAISE EXCEPTION 'a charge changed no balance' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
  END LOOP;
END
$$;
