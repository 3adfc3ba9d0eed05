-- Add a signed amount to a wallet's credits, once per idempotency key, unless that would leave less than 0 or more than credits_max().
-- It takes 1 to 64 calls, sorted by wallet, as arrays: wallet_id, idempotency_key, request_hash (SHA-256 of the canonical arguments),
-- user_id (for whom), amount, take_available (whether to take what there is if that is less), kind, actor, memo and request_id. It
-- answers each call, by its place in the arrays, as if the calls ran one after the other: outcome, and the wallet and the entry as far as
-- they exist. Outcomes in order of precedence:
--   idempotency_key_reused, replayed, user_not_found, insufficient_credits, credits_out_of_range, adjusted.
-- A refusal leaves nothing behind, and the key stays free. A rerun, whose first reply was lost, finds its request id on the entry and
-- answers as the first run did, with the wallet as it is now.
-- Race-free because each wallet is locked, in the order of their ids, when its balance is read and before its entries are: every later
-- statement sees all that was committed before the lock. The balance changes by one guarded increment.
CREATE OR REPLACE FUNCTION adjust_user_credits(
  wallet_id_of uuid[], idempotency_key_of text[], request_hash_of bytea[], user_id_of uuid[], amount_of integer[],
  take_available_of boolean[], kind_of text[], actor_of text[], memo_of text[], request_id_of bigint[]
) RETURNS TABLE (place integer, outcome text, wallet wallets, entry credit_entries)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  amount integer;
  judged integer := 0;
  keys text[];
  -- Of the calls that add their amount, in this order:
  calls integer[];
  amounts integer[];
  changed_wallets wallets[];
  numbers bigint[];
  balances integer[];
  written integer;
BEGIN
  WHILE judged < cardinality(wallet_id_of) LOOP
    calls := '{}';
    amounts := '{}';
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
      SELECT * INTO entry FROM credit_entries WHERE wallet_id = wallet_id_of[i] AND idempotency_key = idempotency_key_of[i];
      outcome := CASE
        WHEN entry.request_hash <> request_hash_of[i] THEN 'idempotency_key_reused'
        WHEN entry.request_id = request_id_of[i] THEN 'adjusted'
        WHEN entry.number IS NOT NULL THEN 'replayed'
        WHEN wallet.wallet_id IS NULL OR wallet.closed_at IS NOT NULL THEN 'user_not_found'
        WHEN wallet.credits::bigint + amount_of[i] < 0 AND NOT take_available_of[i] THEN 'insufficient_credits'
        WHEN wallet.credits::bigint + amount_of[i] > credits_max() THEN 'credits_out_of_range'
      END;
      IF outcome IS NOT NULL THEN
        place := i;
        RETURN NEXT;
        CONTINUE;
      END IF;
      amount := greatest(amount_of[i], -wallet.credits);
      wallet.credits := wallet.credits + amount;
      wallet.entry_count := wallet.entry_count + 1;
      wallet.version := wallet.version + 1;
      IF kind_of[i] = 'PURCHASE' AND amount_of[i] > 0 THEN
        wallet.first_purchased_at := coalesce(wallet.first_purchased_at, now());
      END IF;
      keys := keys || idempotency_key_of[i];
      calls := calls || i;
      amounts := amounts || amount;
      changed_wallets := changed_wallets || wallet;
      numbers := numbers || wallet.entry_count;
      balances := balances || wallet.credits;
    END LOOP;
    CONTINUE WHEN calls = '{}';
    RETURN QUERY
    WITH adjustment AS (
      SELECT * FROM unnest(calls, amounts, numbers, balances) WITH ORDINALITY AS accepted (i, taken, number, balance, nth)
    ),

    written AS (
      INSERT INTO credit_entries AS written (
        wallet_id, number, kind, amount, balance_after, uncovered, user_id, idempotency_key, request_hash, actor, memo, request_id
      )
      SELECT
        wallet_id_of[i], number, kind_of[i], taken, balance, taken - amount_of[i], user_id_of[i], idempotency_key_of[i],
        request_hash_of[i], actor_of[i], memo_of[i], request_id_of[i]
      FROM adjustment
      RETURNING wallet_id, number, written AS entry
    ),

    total AS (
      SELECT
        wallet_id_of[i] AS wallet_id, sum(taken) AS amount, count(*) AS calls,
        bool_or(kind_of[i] = 'PURCHASE' AND amount_of[i] > 0) AS purchased
      FROM adjustment
      GROUP BY wallet_id_of[i]
    ),

    adjusted AS (
      UPDATE wallets SET
        credits = wallets.credits + total.amount,
        entry_count = wallets.entry_count + total.calls,
        version = wallets.version + total.calls,
        first_purchased_at = CASE WHEN total.purchased THEN coalesce(wallets.first_purchased_at, now()) ELSE wallets.first_purchased_at END
      FROM total
      WHERE wallets.wallet_id = total.wallet_id AND wallets.credits + total.amount BETWEEN 0 AND credits_max()
      RETURNING wallets.wallet_id
    )

    SELECT adjustment.i, 'adjusted', changed_wallets[adjustment.nth], written.entry
    FROM adjustment
    INNER JOIN adjusted ON wallet_id_of[adjustment.i] = adjusted.wallet_id
    INNER JOIN written ON adjusted.wallet_id = written.wallet_id AND adjustment.number = written.number;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written <> cardinality(calls) THEN
      RAISE EXCEPTION 'an entry changed no balance' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
  END LOOP;
END
$$;
