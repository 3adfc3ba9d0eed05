-- The tables. Whatever credits touch lives with its wallet: the wallet's ledger, its videos, their content, what happened to them.
-- Every promise that can be a constraint is one, so that wrong code fails where it would have lost or minted a credit.

-- What is stated once: the limit of a balance, the statuses of a video and their order, the kinds of entries.

CREATE FUNCTION credits_max() RETURNS integer
IMMUTABLE LANGUAGE sql
RETURN 2147483647;

CREATE FUNCTION video_status_rank(status text) RETURNS integer
IMMUTABLE LANGUAGE sql
RETURN array_position(
  ARRAY[
    'QUEUED', 'GENERATING_AUDIO', 'GENERATING_CAPTIONS', 'GENERATING_IMAGE_PROMPTS', 'GENERATING_IMAGES',
    'READY', 'RENDER_QUEUED', 'RENDERING', 'COMPLETED'
  ],
  status
);

-- Whether an attempt that ended so gave back what it was charged.
CREATE FUNCTION video_status_is_refunded(status text) RETURNS boolean
IMMUTABLE LANGUAGE sql
RETURN status IN ('FAILED', 'CANCELED');

CREATE FUNCTION video_status_is_final(status text) RETURNS boolean
IMMUTABLE LANGUAGE sql
RETURN status = 'COMPLETED' OR video_status_is_refunded(status);

-- The lifecycle: forward moves may skip stages, FAILED and CANCELED end any of them, and nothing follows a final status.
-- (A retry is no move: it begins a new attempt.)
CREATE FUNCTION video_status_may_follow(present text, following text) RETURNS boolean
IMMUTABLE LANGUAGE sql
RETURN NOT video_status_is_final(present)
AND (video_status_is_refunded(following) OR coalesce(video_status_rank(following) > video_status_rank(present), FALSE));

-- Whether a report contradicts the end of an attempt: another download URL than the stored one, or any for what was refunded.
-- (Comments contradict nothing: of several reporters of a failure each has words of its own, and the first one's stay.)
CREATE FUNCTION video_end_contradicts(status text, download_url text, reported_download_url text) RETURNS boolean
IMMUTABLE LANGUAGE sql
RETURN video_status_is_final(status) AND reported_download_url IS NOT NULL
AND (reported_download_url <> download_url OR (download_url IS NULL AND video_status_is_refunded(status)));

CREATE FUNCTION credit_entry_kind_is_known(kind text) RETURNS boolean
IMMUTABLE LANGUAGE sql
RETURN kind IN ('SIGNUP', 'PURCHASE', 'REWARD', 'ADJUSTMENT', 'CHARGE', 'REFUND');

-- The rules of domains are functions, which a migration can replace: to validate a domain's own constraint locks out writers of its tables.
CREATE DOMAIN video_status AS text
CONSTRAINT video_status_known CHECK (video_status_rank(value) IS NOT NULL OR video_status_is_refunded(value));

CREATE DOMAIN credit_entry_kind AS text
CONSTRAINT credit_entry_kind_known CHECK (credit_entry_kind_is_known(value));

-- The rules of a table's rows are one CHECK, which calls a function: PostgreSQL plans each CHECK for every statement that writes to its
-- table, but compiles a function once for each connection (docs/decisions/0013-checks.md). The error is a CHECK's: SQLSTATE 23514, the
-- table, and the rule's name as the constraint's; of several broken rules the first by name; and null breaks no rule. The functions call
-- nothing but PostgreSQL's own, since dumps are restored with an empty search_path, and get only the columns that they read, since a
-- whole row would be copied.

CREATE FUNCTION wallets_sound(credits integer, entry_count bigint, version bigint) RETURNS boolean
IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN credits < 0 THEN 'wallets_credits_not_negative'
    WHEN entry_count < 0 THEN 'wallets_entry_count_not_negative'
    WHEN version <= 0 THEN 'wallets_version_positive'
  END;
BEGIN
  IF broken IS NOT NULL THEN
    RAISE EXCEPTION 'new row for relation "wallets" violates check constraint "%"', broken
      USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'wallets';
  END IF;
  RETURN TRUE;
END
$$;

CREATE FUNCTION video_data_sound(
  attempt integer, cost integer, event_count integer, idempotency_key text, music_track_name text, music_track_url text,
  queue_id uuid, render_progress integer, status text, title text, version bigint, voice_id text, voice_name text,
  volume_background_music double precision, volume_voice double precision
) RETURNS boolean
IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN attempt <= 0 THEN 'video_data_attempt_positive'
    WHEN cost <= 0 THEN 'video_data_cost_positive'
    WHEN event_count <= 0 THEN 'video_data_event_count_positive'
    WHEN char_length(idempotency_key) NOT BETWEEN 1 AND 255 THEN 'video_data_idempotency_key_length'
    WHEN (music_track_name IS NULL) <> (music_track_url IS NULL) THEN 'video_data_music_track_whole'
    WHEN (status = 'RENDER_QUEUED') <> (queue_id IS NOT NULL) THEN 'video_data_queue_id_while_queued'
    WHEN status = 'COMPLETED' AND render_progress <> 100 THEN 'video_data_render_progress_completed'
    WHEN render_progress NOT BETWEEN 0 AND 100 THEN 'video_data_render_progress_range'
    WHEN title = '' THEN 'video_data_title_not_empty'
    WHEN version <= 0 THEN 'video_data_version_positive'
    WHEN (voice_id IS NULL) <> (voice_name IS NULL) THEN 'video_data_voice_whole'
    WHEN volume_background_music NOT BETWEEN 0 AND 1 THEN 'video_data_volume_background_music_range'
    WHEN volume_voice NOT BETWEEN 0 AND 1 THEN 'video_data_volume_voice_range'
  END;
BEGIN
  IF broken IS NOT NULL THEN
    RAISE EXCEPTION 'new row for relation "video_data" violates check constraint "%"', broken
      USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'video_data';
  END IF;
  RETURN TRUE;
END
$$;

-- (A balance before the entry that is too large to be one is an overflow, which is refused as such.)
CREATE FUNCTION credit_entries_sound(
  actor text, amount integer, attempt integer, balance_after integer, idempotency_key text, kind text, number bigint,
  request_hash bytea, uncovered integer, video_id uuid
) RETURNS boolean
IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN actor = '' THEN 'credit_entries_actor_not_empty'
    WHEN
      NOT CASE WHEN kind = 'CHARGE' THEN amount < 0 WHEN kind IN ('REFUND', 'SIGNUP') THEN amount > 0 ELSE amount <> 0 OR uncovered > 0 END
      THEN 'credit_entries_amount_sign'
    WHEN (video_id IS NULL) <> (attempt IS NULL) THEN 'credit_entries_attempt_of_video'
    WHEN
      NOT CASE WHEN number = 1 THEN balance_after = amount ELSE balance_after - amount >= 0 END
      THEN 'credit_entries_balance_after_follows'
    WHEN balance_after < 0 THEN 'credit_entries_balance_after_not_negative'
    WHEN char_length(idempotency_key) NOT BETWEEN 1 AND 255 THEN 'credit_entries_idempotency_key_length'
    WHEN (kind IN ('SIGNUP', 'REFUND')) <> (idempotency_key IS NULL) THEN 'credit_entries_idempotency_key_of_kind'
    WHEN number <= 0 THEN 'credit_entries_number_positive'
    WHEN (idempotency_key IS NULL) <> (request_hash IS NULL) OR octet_length(request_hash) <> 32
      THEN 'credit_entries_request_hash_of_key'
    WHEN
      uncovered < 0 OR (uncovered > 0 AND (amount > 0 OR balance_after > 0 OR kind IN ('CHARGE', 'REFUND', 'SIGNUP')))
      THEN 'credit_entries_uncovered_of_taking'
    WHEN (kind IN ('CHARGE', 'REFUND')) <> (video_id IS NOT NULL) THEN 'credit_entries_video_id_of_kind'
  END;
BEGIN
  IF broken IS NOT NULL THEN
    RAISE EXCEPTION 'new row for relation "credit_entries" violates check constraint "%"', broken
      USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'credit_entries';
  END IF;
  RETURN TRUE;
END
$$;

CREATE FUNCTION video_events_sound(actor text, attempt integer, number integer) RETURNS boolean
IMMUTABLE LANGUAGE plpgsql AS $$
DECLARE
  broken CONSTANT text := CASE
    WHEN actor = '' THEN 'video_events_actor_not_empty'
    WHEN attempt <= 0 THEN 'video_events_attempt_positive'
    WHEN number <= 0 THEN 'video_events_number_positive'
  END;
BEGIN
  IF broken IS NOT NULL THEN
    RAISE EXCEPTION 'new row for relation "video_events" violates check constraint "%"', broken
      USING ERRCODE = 'check_violation', CONSTRAINT = broken, TABLE = 'video_events';
  END IF;
  RETURN TRUE;
END
$$;

-- The tables.

CREATE TABLE wallets (
  wallet_id uuid NOT NULL,
  credits integer NOT NULL DEFAULT 0,
  entry_count bigint NOT NULL DEFAULT 0, -- the number of the newest credit entry
  version bigint NOT NULL DEFAULT 1, -- raised by every entry, and in a user's own wallet by every change of the profile
  first_purchased_at timestamptz,
  stored_bytes bigint NOT NULL DEFAULT 0, -- what all of the wallet's videos hold, by video_stored_bytes
  creations_day date, -- the day of the newest CHARGE
  creations integer NOT NULL DEFAULT 0, -- how many CHARGEs were written on it, since the last one of another day
  closed_at timestamptz, -- since when its user has been erased, and nothing is charged or added (docs/decisions/0022-erasure.md)
  CONSTRAINT wallets_wallet_id_once PRIMARY KEY (wallet_id),
  CONSTRAINT wallets_sound CHECK (wallets_sound(credits, entry_count, version))
) WITH (fillfactor = 70); -- room for HOT updates: credits change often

CREATE TABLE users (
  user_id uuid NOT NULL, -- UUIDv5 of the identity provider's subject; the user's own wallet has the same id
  registered_id uuid NOT NULL DEFAULT uuidv7(), -- orders the users
  subject text NOT NULL,
  name text,
  email text,
  picture text,
  created_at timestamptz NOT NULL DEFAULT now(),
  request_id bigint NOT NULL, -- of the request that registered the user
  request_ids bigint[] NOT NULL, -- of the registration and the newest changes of the profile, oldest first
  CONSTRAINT users_user_id_once PRIMARY KEY (user_id),
  CONSTRAINT users_wallet_exists FOREIGN KEY (user_id) REFERENCES wallets (wallet_id),
  CONSTRAINT users_subject_length CHECK (char_length(subject) BETWEEN 1 AND 255)
);

CREATE INDEX users_newest ON users (registered_id);

-- Users, each with the wallet of their own.
CREATE VIEW user_wallets AS
SELECT
  users.user_id,
  users.registered_id,
  users.name,
  users.email,
  users.picture,
  users.created_at,
  wallets.credits,
  wallets.entry_count,
  wallets.version,
  wallets.first_purchased_at
FROM users INNER JOIN wallets ON users.user_id = wallets.wallet_id;

CREATE TABLE video_data (
  wallet_id uuid NOT NULL,
  id uuid NOT NULL DEFAULT uuidv7(),
  user_id uuid NOT NULL, -- whose video it is, of those who spend from the wallet
  idempotency_key text NOT NULL,
  title text NOT NULL,
  video_style text NOT NULL,
  topic text,
  voice_id text,
  voice_name text,
  music_track_name text,
  music_track_url text,
  audio_url text,
  download_url text,
  created_by text,
  status video_status NOT NULL DEFAULT 'QUEUED',
  comments jsonb,
  render_progress integer NOT NULL DEFAULT 0,
  render_id text,
  bucket_name text,
  queue_id uuid, -- orders the render queue: a UUIDv7 made on entering it, while in it
  queued_at timestamptz,
  render_started_at timestamptz,
  trashed_at timestamptz,
  volume_background_music double precision NOT NULL DEFAULT 0.4,
  volume_voice double precision NOT NULL DEFAULT 1,
  attempt integer NOT NULL DEFAULT 1,
  cost integer NOT NULL, -- what the present attempt was charged, so that a refund gives back what was paid
  event_count integer NOT NULL DEFAULT 1, -- the number of the newest video event
  version bigint NOT NULL DEFAULT 1,
  saved_version bigint NOT NULL DEFAULT 1, -- the version that the newest save made; 1: none yet
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  request_ids bigint[] NOT NULL DEFAULT '{}', -- of the newest changes of the video, oldest first
  CONSTRAINT video_data_id_once PRIMARY KEY (wallet_id, id),
  CONSTRAINT video_data_wallet_id_exists FOREIGN KEY (wallet_id) REFERENCES wallets (wallet_id),
  CONSTRAINT video_data_idempotency_key_once UNIQUE (wallet_id, idempotency_key),
  CONSTRAINT video_data_sound CHECK (
    video_data_sound(
      attempt, cost, event_count, idempotency_key, music_track_name, music_track_url, queue_id, render_progress, status,
      title, version, voice_id, voice_name, volume_background_music, volume_voice
    )
  )
) WITH (fillfactor = 85);

-- The render queue of all wallets, and all videos, newest first, for the admin page.
CREATE INDEX video_data_queue ON video_data (queue_id) WHERE queue_id IS NOT NULL;
CREATE INDEX video_data_newest ON video_data (id);

-- The large content of videos, apart: what changes a video often, and what reads videos, does not carry it along.
CREATE TABLE video_contents (
  wallet_id uuid NOT NULL,
  video_id uuid NOT NULL,
  script text,
  caption jsonb,
  images jsonb,
  caption_json jsonb,
  config jsonb,
  script_bytes integer NOT NULL DEFAULT 0, -- each of its column, so that an update need not read what it replaces
  caption_bytes integer NOT NULL DEFAULT 0,
  images_bytes integer NOT NULL DEFAULT 0,
  caption_json_bytes integer NOT NULL DEFAULT 0,
  config_bytes integer NOT NULL DEFAULT 0,
  CONSTRAINT video_contents_video_id_once PRIMARY KEY (wallet_id, video_id),
  CONSTRAINT video_contents_video_id_exists FOREIGN KEY (wallet_id, video_id) REFERENCES video_data (wallet_id, id)
);

CREATE TABLE credit_entries (
  wallet_id uuid NOT NULL,
  number bigint NOT NULL, -- 1, 2, 3 … for each wallet, without gaps
  kind credit_entry_kind NOT NULL,
  amount integer NOT NULL,
  balance_after integer NOT NULL,
  uncovered integer NOT NULL DEFAULT 0, -- how many credits more were to be taken than there were
  user_id uuid NOT NULL, -- for whom, of those who spend from the wallet
  video_id uuid,
  attempt integer,
  idempotency_key text,
  request_hash bytea, -- SHA-256 of the canonical arguments that the key belongs to
  actor text NOT NULL, -- role and subject of the caller who did it
  memo text,
  created_at timestamptz NOT NULL DEFAULT now(),
  request_id bigint, -- of the request that wrote the entry: 63 random bits, compared with those of one row or one key only
  CONSTRAINT credit_entries_number_once PRIMARY KEY (wallet_id, number),
  CONSTRAINT credit_entries_wallet_id_exists FOREIGN KEY (wallet_id) REFERENCES wallets (wallet_id),
  CONSTRAINT credit_entries_video_id_exists FOREIGN KEY (wallet_id, video_id) REFERENCES video_data (wallet_id, id),
  CONSTRAINT credit_entries_idempotency_key_once UNIQUE (idempotency_key, wallet_id), -- so that no entry is looked for by wallet in it
  CONSTRAINT credit_entries_sound CHECK (
    credit_entries_sound(
      actor, amount, attempt, balance_after, idempotency_key, kind, number, request_hash, uncovered, video_id
    )
  )
);

-- One CHARGE and at most one REFUND for each attempt at a video.
CREATE UNIQUE INDEX credit_entries_kind_once ON credit_entries (wallet_id, video_id, attempt, kind) WHERE video_id IS NOT NULL;

CREATE TABLE video_events (
  wallet_id uuid NOT NULL,
  video_id uuid NOT NULL,
  number integer NOT NULL, -- 1, 2, 3 … for each video, without gaps
  status video_status NOT NULL,
  attempt integer NOT NULL,
  actor text NOT NULL,
  comments jsonb,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT video_events_number_once PRIMARY KEY (wallet_id, video_id, number),
  CONSTRAINT video_events_video_id_exists FOREIGN KEY (wallet_id, video_id) REFERENCES video_data (wallet_id, id),
  CONSTRAINT video_events_sound CHECK (video_events_sound(actor, attempt, number))
);

COMMENT ON CONSTRAINT wallets_sound ON wallets IS 'Many rules in one; \sf wallets_sound shows them, each with the name that an error has.';
COMMENT ON CONSTRAINT video_data_sound ON video_data IS 'Many rules in one, as wallets_sound.';
COMMENT ON CONSTRAINT credit_entries_sound ON credit_entries IS 'Many rules in one, as wallets_sound.';
COMMENT ON CONSTRAINT video_events_sound ON video_events IS 'Many rules in one, as wallets_sound.';

-- The ledger and the history are append-only: what was written stays. Only a person can be erased from them
-- (docs/decisions/0022-erasure.md): texts become null, keys and the subjects of actors become pseudonyms, and nothing else changes.
CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END
$$;

CREATE FUNCTION is_pseudonym(value text) RETURNS boolean
IMMUTABLE LANGUAGE sql
RETURN value ~ '^erased:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$';

-- Whether a column's value is what erasure makes of an earlier one.
CREATE FUNCTION is_erased(name text, earlier text, value text) RETURNS boolean
IMMUTABLE LANGUAGE sql
RETURN CASE name
  WHEN 'actor' THEN starts_with(value, split_part(earlier, ':', 1) || ':') AND is_pseudonym(substr(value, strpos(value, ':') + 1))
  WHEN 'idempotency_key' THEN earlier IS NOT NULL AND coalesce(is_pseudonym(value), FALSE)
  WHEN 'request_hash' THEN earlier IS NOT NULL AND coalesce(value ~ '^\\x0+$', FALSE)
  ELSE value IS NULL
END;

-- The arguments of the trigger are the columns that can be erased.
CREATE FUNCTION refuse_all_but_erasure() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  IF
    to_jsonb(NEW) - TG_ARGV <> to_jsonb(OLD) - TG_ARGV
    OR EXISTS (
      SELECT FROM unnest(TG_ARGV) AS erasable (name)
      WHERE
        to_jsonb(NEW) ->> name IS DISTINCT FROM to_jsonb(OLD) ->> name
        AND NOT is_erased(name, to_jsonb(OLD) ->> name, to_jsonb(NEW) ->> name)
    )
  THEN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
      USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  RETURN NEW;
END
$$;

CREATE TRIGGER credit_entries_append_only
BEFORE DELETE OR TRUNCATE ON credit_entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER credit_entries_erased_only
BEFORE UPDATE ON credit_entries
FOR EACH ROW EXECUTE FUNCTION refuse_all_but_erasure('actor', 'memo', 'idempotency_key', 'request_hash');

CREATE TRIGGER video_events_append_only
BEFORE DELETE OR TRUNCATE ON video_events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER video_events_erased_only
BEFORE UPDATE ON video_events
FOR EACH ROW EXECUTE FUNCTION refuse_all_but_erasure('actor', 'comments');

-- No balance changes but by entries that explain it (docs/decisions/0003-explained-credits.md): when the statement ends, the newest entry
-- has the balance, and each entry that the statement numbered has the balance of the one before plus its amount. By induction the ledger
-- has no gap and its sum is the balance.
CREATE FUNCTION require_explained_credits() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
  explained_before CONSTANT bigint := coalesce(OLD.entry_count, 0); -- none, when the wallet is new
BEGIN
  IF NEW.entry_count = 0 AND NEW.credits = 0 THEN
    RETURN NULL;
  END IF;
  PERFORM FROM credit_entries AS newest
  LEFT JOIN credit_entries AS before ON before.wallet_id = NEW.wallet_id AND before.number = NEW.entry_count - 1
  WHERE newest.wallet_id = NEW.wallet_id AND newest.number = NEW.entry_count AND newest.balance_after = NEW.credits
    AND newest.balance_after - newest.amount = CASE WHEN newest.number = 1 THEN 0 ELSE before.balance_after END;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no credit entry explains a balance of % at entry %', NEW.credits, NEW.entry_count
      USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
  END IF;
  IF NEW.entry_count - explained_before > 1 THEN
    -- The newest is there, so if each that is there has one before it that it follows from, all are.
    PERFORM FROM credit_entries AS entry
    LEFT JOIN credit_entries AS before ON before.wallet_id = entry.wallet_id AND before.number = entry.number - 1
    WHERE entry.wallet_id = NEW.wallet_id AND entry.number > explained_before AND entry.number <= NEW.entry_count
      AND entry.balance_after - entry.amount IS DISTINCT FROM CASE WHEN entry.number = 1 THEN 0 ELSE before.balance_after END;
    IF FOUND THEN
      RAISE EXCEPTION 'the credit entries from % to % do not follow from each other', explained_before + 1, NEW.entry_count
        USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
    END IF;
  END IF;
  RETURN NULL;
END
$$;

CREATE TRIGGER wallets_credits_explained_from_the_start
AFTER INSERT ON wallets
FOR EACH ROW EXECUTE FUNCTION require_explained_credits();

CREATE TRIGGER wallets_credits_explained
AFTER UPDATE ON wallets
FOR EACH ROW WHEN (old.credits <> new.credits OR old.entry_count <> new.entry_count)
EXECUTE FUNCTION require_explained_credits();

-- The columns of videos that hold what people wrote or what was made of it: all of text and JSON but the idempotency key. Those that are
-- added are among them, so that they are erased with a person.
CREATE FUNCTION video_texts() RETURNS TABLE (name text, is_required boolean)
STABLE LANGUAGE sql
BEGIN ATOMIC
  SELECT
    attname::text,
    attnotnull
  FROM pg_attribute
  WHERE
    attrelid = 'video_data'::regclass AND atttypid IN ('text'::regtype, 'jsonb'::regtype)
    AND attname <> 'idempotency_key' AND NOT attisdropped;
END;

CREATE FUNCTION erase_video_texts(wallet_ids uuid[], ids uuid[]) RETURNS SETOF video_data
LANGUAGE plpgsql AS $$
BEGIN
  RETURN QUERY EXECUTE format(
    $sql$
      UPDATE video_data SET %s, version = video_data.version + 1, updated_at = now()
      FROM (
        SELECT wallet_id, id
        FROM unnest($1, $2) AS given (wallet_id, id) INNER JOIN video_data USING (wallet_id, id)
        WHERE video_status_is_final(status)
        ORDER BY wallet_id, id
        FOR NO KEY UPDATE OF video_data
      ) AS ended
      WHERE video_data.wallet_id = ended.wallet_id AND video_data.id = ended.id
      RETURNING video_data.*
    $sql$,
    (SELECT string_agg(format('%I = %s', name, CASE WHEN is_required THEN quote_literal('erased') ELSE 'NULL' END), ', ') FROM video_texts())
  ) USING wallet_ids, ids;
END
$$;

-- What the functions of mutations (db/functions) share.

-- What a function answers with when a quota refuses: how much of it is used, and when it resets (null: never).
CREATE TYPE quota AS (used bigint, resets_at timestamptz);

-- A list of request ids with one more (docs/decisions/0016-request-ids.md). It keeps 16: those of the 8 calls that a batch can hold for
-- one row (ROW_CALLS_MAX), which all find themselves when its reply is lost, although others change the row before they are run again.
CREATE FUNCTION with_request_id(request_ids bigint[], request_id bigint) RETURNS bigint[]
IMMUTABLE LANGUAGE sql
RETURN (request_ids || request_id)[greatest(cardinality(request_ids) - 14, 1):];

-- The size of a JSON value as PostgreSQL stores it, before compression; `#> '{}'` is the value itself, decompressed.
CREATE FUNCTION json_bytes(value jsonb) RETURNS integer
STABLE LANGUAGE sql
RETURN coalesce(pg_column_size(value #> '{}'), 0);

-- A video holds whole blocks of 64 KiB, and at least one: so an update that needs no other number of them, as most need none, leaves
-- its wallet's row alone (docs/decisions/0019-quotas.md).
CREATE FUNCTION video_stored_bytes(content_bytes integer) RETURNS bigint
IMMUTABLE LANGUAGE sql
RETURN 65536::bigint * greatest(1, (content_bytes + 65535) / 65536);

-- Days are UTC's, by the database's clock.
CREATE FUNCTION utc_today() RETURNS date
STABLE LANGUAGE sql
RETURN (now() AT TIME ZONE 'UTC')::date;

CREATE FUNCTION creations_today(creations_day date, creations integer) RETURNS integer
STABLE LANGUAGE sql
RETURN CASE WHEN creations_day = utc_today() THEN creations ELSE 0 END;
