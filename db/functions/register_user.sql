-- Register a user with a wallet, or keep a registered one's name, email and picture current; the sign-up credits are granted once. A user
-- who was erased is registered again with the same wallet.
-- It takes 1 to 64 calls, sorted by user, as arrays: user_id, subject, profile (a JSON object of name, email and picture: null clears one,
-- and one that is left out stays), signup_credits (0: none), actor and request_id. It answers each call, by its place in the arrays, as if
-- the calls ran one after the other: outcome (registered, replayed), the user, and the SIGNUP entry, if there is one.
-- A rerun, whose first reply was lost, finds its request id on the user: it answers as the first run did, and leaves a profile alone that
-- others may have changed since.
-- Race-free because the wallet is locked before the user is read, and its primary key decides who is first: the others wait, and find it.
CREATE OR REPLACE FUNCTION register_user(
  user_id_of uuid[], subject_of text[], profile_of text[], signup_credits_of integer[], actor_of text[], request_id_of bigint[]
) RETURNS TABLE (place integer, outcome text, account user_wallets, entry credit_entries)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  person users;
  profile jsonb;
BEGIN
  FOR i IN 1 .. cardinality(user_id_of) LOOP
    place := i;
    profile := profile_of[i]::jsonb;
    LOOP
      outcome := 'replayed';
      PERFORM FROM wallets WHERE wallet_id = user_id_of[i] FOR NO KEY UPDATE;
      EXIT WHEN FOUND;
      outcome := 'registered';
      INSERT INTO wallets (wallet_id) VALUES (user_id_of[i]) ON CONFLICT ON CONSTRAINT wallets_wallet_id_once DO NOTHING;
      EXIT WHEN FOUND;
    END LOOP;
    IF outcome = 'registered' THEN
      INSERT INTO users (user_id, subject, name, email, picture, request_id, request_ids)
      VALUES (
        user_id_of[i], subject_of[i], profile ->> 'name', profile ->> 'email', profile ->> 'picture', request_id_of[i],
        ARRAY[request_id_of[i]]
      );
      entry := NULL;
      IF signup_credits_of[i] > 0 THEN
        INSERT INTO credit_entries (wallet_id, number, kind, amount, balance_after, user_id, actor, request_id)
        VALUES (user_id_of[i], 1, 'SIGNUP', signup_credits_of[i], signup_credits_of[i], user_id_of[i], actor_of[i], request_id_of[i])
        RETURNING * INTO entry;
        UPDATE wallets SET credits = credits + signup_credits_of[i], entry_count = entry_count + 1 WHERE wallet_id = user_id_of[i];
      END IF;
    ELSE
      SELECT * INTO person FROM users WHERE user_id = user_id_of[i];
      IF person.request_id = request_id_of[i] THEN
        outcome := 'registered';
      END IF;
      SELECT * INTO entry FROM credit_entries WHERE wallet_id = user_id_of[i] AND number = 1 AND kind = 'SIGNUP';
      IF
        request_id_of[i] <> ALL (person.request_ids)
        AND jsonb_populate_record(person, profile || jsonb_build_object('subject', subject_of[i])) IS DISTINCT FROM person
      THEN
        person := jsonb_populate_record(person, profile);
        UPDATE users SET
          subject = subject_of[i],
          name = person.name,
          email = person.email,
          picture = person.picture,
          request_ids = with_request_id(request_ids, request_id_of[i])
        WHERE user_id = user_id_of[i];
        UPDATE wallets SET version = version + 1, closed_at = NULL WHERE wallet_id = user_id_of[i];
      END IF;
    END IF;
    SELECT * INTO account FROM user_wallets WHERE user_id = user_id_of[i];
    RETURN NEXT;
  END LOOP;
END
$$;
