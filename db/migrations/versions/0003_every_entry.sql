-- Statements that run many calls at once (queries/batched) write several of a user's entries. The trigger, which looked at the newest
-- and the one before it, now looks at all that the statement numbered (docs/decisions/0003-explained-credits.md). One entry, which is
-- what all other statements write, costs what it did. The table is not locked: whoever is at work takes the new function next time.
CREATE OR REPLACE FUNCTION require_explained_credits() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
  explained_before CONSTANT bigint := coalesce(OLD.entry_count, 0); -- none, when the user is new
BEGIN
  IF NEW.entry_count = 0 AND NEW.credits = 0 THEN
    RETURN NULL;
  END IF;
  PERFORM FROM credit_entries AS newest
  LEFT JOIN credit_entries AS before ON before.user_id = newest.user_id AND before.number = newest.number - 1
  WHERE newest.user_id = NEW.user_id AND newest.number = NEW.entry_count AND newest.balance_after = NEW.credits
    AND newest.balance_after - newest.amount = CASE WHEN newest.number = 1 THEN 0 ELSE before.balance_after END;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no credit entry explains a balance of % at entry %', NEW.credits, NEW.entry_count
      USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  IF NEW.entry_count - explained_before > 1 THEN
    -- The newest is there, so if each that is there has one before it that it follows from, all are.
    PERFORM FROM credit_entries AS entry
    LEFT JOIN credit_entries AS before ON before.user_id = entry.user_id AND before.number = entry.number - 1
    WHERE entry.user_id = NEW.user_id AND entry.number > explained_before AND entry.number <= NEW.entry_count
      AND entry.balance_after - entry.amount IS DISTINCT FROM CASE WHEN entry.number = 1 THEN 0 ELSE before.balance_after END;
    IF FOUND THEN
      RAISE EXCEPTION 'the credit entries from % to % do not follow from each other', explained_before + 1, NEW.entry_count
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
  END IF;
  RETURN NULL;
END
$$;
