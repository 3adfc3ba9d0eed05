-- Create a video and charge its user, once per idempotency key.
-- It takes 1 to 64 calls, sorted by user, as arrays: user_id, idempotency_key, request_hash (SHA-256 of the canonical arguments), cost in
-- credits, actor, the video's columns (caption: JSON), creations_max (of a day; null: any number), storage_max (bytes that the user's
-- videos may hold together; null: any number) and request_id. It answers each call, by its place in the arrays, as if the calls ran one
-- after the other: outcome; the user, the video and the CHARGE entry as far as they exist; and when a quota refuses, its usage. Outcomes
-- in order of precedence:
--   idempotency_key_reused, replayed, user_not_found, creations_exceeded, storage_exceeded, insufficient_credits, created.
-- A refusal leaves nothing behind, and the key stays free. A rerun, whose first reply was lost, finds its request id on the entry and
-- answers as the first run did, with the rows as they are now.
-- Race-free because each user is locked, in the order of their ids, when its balance is read and before its entries are: every later
-- statement sees all that was committed before the lock. The balance changes by one guarded increment.
CREATE OR REPLACE FUNCTION create_video_data(
  user_id_of uuid[], idempotency_key_of text[], request_hash_of bytea[], cost_of integer[], actor_of text[], title_of text[],
  video_style_of text[], topic_of text[], script_of text[], caption_of text[], voice_id_of text[], voice_name_of text[],
  created_by_of text[], creations_max_of integer[], storage_max_of bigint[], request_id_of bigint[]
) RETURNS TABLE (place integer, outcome text, account users, video video_data, entry credit_entries, quota quota)
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
  accounts users[];
  numbers bigint[];
  balances integer[];
  written integer;
BEGIN
  WHILE judged < cardinality(user_id_of) LOOP
    calls := '{}';
    ids := '{}';
    caption_sizes := '{}';
    sizes := '{}';
    accounts := '{}';
    numbers := '{}';
    balances := '{}';
    account := NULL;
    FOR i IN judged + 1 .. cardinality(user_id_of) LOOP
      IF account.user_id IS DISTINCT FROM user_id_of[i] THEN
        SELECT * INTO account FROM users WHERE user_id = user_id_of[i] FOR NO KEY UPDATE;
        keys := '{}';
      END IF;
      EXIT WHEN idempotency_key_of[i] = ANY (keys); -- It is a replay of a call whose entry must be written first.
      judged := i;
      place := i;
      video := NULL;
      quota := NULL;
      SELECT * INTO entry FROM credit_entries WHERE user_id = user_id_of[i] AND idempotency_key = idempotency_key_of[i];
      IF FOUND THEN
        outcome := CASE
          WHEN entry.request_hash <> request_hash_of[i] THEN 'idempotency_key_reused'
          WHEN entry.request_id = request_id_of[i] THEN 'created'
          ELSE 'replayed'
        END;
        SELECT * INTO video FROM video_data WHERE user_id = user_id_of[i] AND id = entry.video_id;
        RETURN NEXT;
        CONTINUE;
      END IF;
      caption_bytes := json_bytes(caption_of[i]::jsonb);
      stored_bytes := video_stored_bytes(coalesce(octet_length(script_of[i]), 0) + caption_bytes);
      account.creations := creations_today(account.creations_day, account.creations);
      account.creations_day := utc_today();
      outcome := CASE
        WHEN account.user_id IS NULL THEN 'user_not_found'
        WHEN account.creations >= creations_max_of[i] THEN 'creations_exceeded'
        WHEN account.stored_bytes + stored_bytes > storage_max_of[i] THEN 'storage_exceeded'
        WHEN account.credits < cost_of[i] THEN 'insufficient_credits'
        ELSE 'created'
      END;
      CASE outcome
        WHEN 'created' THEN
          account.credits := account.credits - cost_of[i];
          account.entry_count := account.entry_count + 1;
          account.version := account.version + 1;
          account.creations := account.creations + 1;
          account.stored_bytes := account.stored_bytes + stored_bytes;
          keys := keys || idempotency_key_of[i];
          calls := calls || i;
          ids := ids || uuidv7();
          caption_sizes := caption_sizes || caption_bytes;
          sizes := sizes || stored_bytes;
          accounts := accounts || account;
          numbers := numbers || account.entry_count;
          balances := balances || account.credits;
          CONTINUE;
        WHEN 'user_not_found' THEN
          account := NULL;
        WHEN 'creations_exceeded' THEN
          quota := ROW (account.creations, (utc_today() + 1)::timestamp AT TIME ZONE 'UTC');
        WHEN 'storage_exceeded' THEN
          quota := ROW (account.stored_bytes, NULL);
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
        user_id, id, idempotency_key, cost, title, video_style, topic, voice_id, voice_name, created_by
      )
      SELECT
        user_id_of[i], id, idempotency_key_of[i], cost_of[i], title_of[i], video_style_of[i], topic_of[i], voice_id_of[i],
        voice_name_of[i], created_by_of[i]
      FROM creation
      RETURNING id, created AS video
    ),

    content AS (
      INSERT INTO video_contents (user_id, video_id, script, caption, script_bytes, caption_bytes)
      SELECT
        user_id_of[i], id, script_of[i], caption_of[i]::jsonb, coalesce(octet_length(script_of[i]), 0), caption_bytes
      FROM creation
      WHERE script_of[i] IS NOT NULL OR caption_of[i] IS NOT NULL
    ),

    charge AS (
      INSERT INTO credit_entries AS charge (
        user_id, number, kind, amount, balance_after, video_id, attempt, idempotency_key, request_hash, actor, request_id
      )
      SELECT
        user_id_of[i], number, 'CHARGE', -cost_of[i], balance, id, 1, idempotency_key_of[i], request_hash_of[i], actor_of[i],
        request_id_of[i]
      FROM creation
      RETURNING video_id, charge AS entry
    ),

    event AS (
      INSERT INTO video_events (user_id, video_id, number, status, attempt, actor)
      SELECT user_id_of[i], id, 1, 'QUEUED', 1, actor_of[i] FROM creation
    ),

    total AS (
      SELECT user_id_of[i] AS user_id, sum(cost_of[i]) AS cost, count(*) AS calls, sum(stored_bytes) AS stored_bytes
      FROM creation
      GROUP BY user_id_of[i]
    ),

    charged AS (
      UPDATE users SET
        credits = users.credits - total.cost,
        entry_count = users.entry_count + total.calls,
        version = users.version + total.calls,
        creations_day = utc_today(),
        creations = creations_today(users.creations_day, users.creations) + total.calls,
        stored_bytes = users.stored_bytes + total.stored_bytes
      FROM total
      WHERE users.user_id = total.user_id AND users.credits >= total.cost
      RETURNING users.user_id
    )

    SELECT creation.i, 'created', accounts[creation.nth], created.video, charge.entry, NULL::quota
    FROM creation
    INNER JOIN charged ON user_id_of[creation.i] = charged.user_id
    INNER JOIN created ON creation.id = created.id
    INNER JOIN charge ON creation.id = charge.video_id;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written <> cardinality(calls) THEN
      RAISE EXCEPTION 'a charge changed no balance' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
  END LOOP;
END
$$;
