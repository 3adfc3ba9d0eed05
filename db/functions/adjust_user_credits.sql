-- Add a signed amount to a user's credits, once per idempotency key, unless that would leave less than 0 or more than 2,147,483,647.
-- It takes 1 to 64 calls, sorted by user, as arrays: user_id, idempotency_key, request_hash (SHA-256 of the canonical arguments), amount,
-- kind, actor, memo and request_id. It answers each call, by its place in the arrays, as if the calls ran one after the other: outcome,
-- and the user and the entry as far as they exist. Outcomes in order of precedence:
--   idempotency_key_reused, replayed, user_not_found, insufficient_credits, credits_out_of_range, adjusted.
-- A refusal leaves nothing behind, and the key stays free. A rerun, whose first reply was lost, finds its request id on the entry and
-- answers as the first run did, with the user as it is now.
-- Race-free because each user is locked, in the order of their ids, when its balance is read and before its entries are: every later
-- statement sees all that was committed before the lock. The balance changes by one guarded increment.
CREATE OR REPLACE FUNCTION adjust_user_credits(
  user_id_of uuid[], idempotency_key_of text[], request_hash_of bytea[], amount_of integer[], kind_of text[], actor_of text[],
  memo_of text[], request_id_of bigint[]
) RETURNS TABLE (place integer, outcome text, account users, entry credit_entries)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  judged integer := 0;
  keys text[];
  -- Of the calls that add their amount, in this order:
  calls integer[];
  accounts users[];
  numbers bigint[];
  balances integer[];
  written integer;
BEGIN
  WHILE judged < cardinality(user_id_of) LOOP
    calls := '{}';
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
      SELECT * INTO entry FROM credit_entries WHERE user_id = user_id_of[i] AND idempotency_key = idempotency_key_of[i];
      outcome := CASE
        WHEN entry.request_hash <> request_hash_of[i] THEN 'idempotency_key_reused'
        WHEN entry.request_id = request_id_of[i] THEN 'adjusted'
        WHEN entry.number IS NOT NULL THEN 'replayed'
        WHEN account.user_id IS NULL THEN 'user_not_found'
        WHEN account.credits::bigint + amount_of[i] < 0 THEN 'insufficient_credits'
        WHEN account.credits::bigint + amount_of[i] > 2147483647 THEN 'credits_out_of_range'
      END;
      IF outcome IS NOT NULL THEN
        place := i;
        RETURN NEXT;
        CONTINUE;
      END IF;
      account.credits := account.credits + amount_of[i];
      account.entry_count := account.entry_count + 1;
      account.version := account.version + 1;
      IF kind_of[i] = 'PURCHASE' AND amount_of[i] > 0 THEN
        account.first_purchased_at := coalesce(account.first_purchased_at, now());
      END IF;
      keys := keys || idempotency_key_of[i];
      calls := calls || i;
      accounts := accounts || account;
      numbers := numbers || account.entry_count;
      balances := balances || account.credits;
    END LOOP;
    CONTINUE WHEN calls = '{}';
    RETURN QUERY
    WITH adjustment AS (
      SELECT * FROM unnest(calls, numbers, balances) WITH ORDINALITY AS accepted (i, number, balance, nth)
    ),

    written AS (
      INSERT INTO credit_entries AS written (
        user_id, number, kind, amount, balance_after, idempotency_key, request_hash, actor, memo, request_id
      )
      SELECT
        user_id_of[i], number, kind_of[i], amount_of[i], balance, idempotency_key_of[i], request_hash_of[i], actor_of[i], memo_of[i],
        request_id_of[i]
      FROM adjustment
      RETURNING user_id, number, written AS entry
    ),

    total AS (
      SELECT
        user_id_of[i] AS user_id, sum(amount_of[i]) AS amount, count(*) AS calls,
        bool_or(kind_of[i] = 'PURCHASE' AND amount_of[i] > 0) AS purchased
      FROM adjustment
      GROUP BY user_id_of[i]
    ),

    adjusted AS (
      UPDATE users SET
        credits = users.credits + total.amount,
        entry_count = users.entry_count + total.calls,
        version = users.version + total.calls,
        first_purchased_at = CASE WHEN total.purchased THEN coalesce(users.first_purchased_at, now()) ELSE users.first_purchased_at END
      FROM total
      WHERE users.user_id = total.user_id AND users.credits + total.amount BETWEEN 0 AND 2147483647
      RETURNING users.user_id
    )

    SELECT adjustment.i, 'adjusted', accounts[adjustment.nth], written.entry
    FROM adjustment
    INNER JOIN adjusted ON user_id_of[adjustment.i] = adjusted.user_id
    INNER JOIN written ON adjusted.user_id = written.user_id AND adjustment.number = written.number;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written <> cardinality(calls) THEN
      RAISE EXCEPTION 'an entry changed no balance' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
  END LOOP;
END
$$;
