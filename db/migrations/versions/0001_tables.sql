-- Four tables, each row with its user: users, their ledger, their videos, and what happened to the videos.
-- Every promise that can be a constraint is one, so that wrong code fails where it would have lost or minted a credit.

CREATE TABLE users (
  user_id uuid NOT NULL, -- UUIDv5 of the identity provider's subject
  number bigint GENERATED ALWAYS AS IDENTITY, -- order of registration
  subject text NOT NULL,
  name text,
  email text,
  picture text,
  credits integer NOT NULL,
  entry_count bigint NOT NULL, -- the number of the newest credit entry
  version bigint NOT NULL DEFAULT 1,
  first_purchased_at timestamptz,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT users_user_id_once PRIMARY KEY (user_id),
  CONSTRAINT users_number_once UNIQUE (number),
  CONSTRAINT users_credits_not_negative CHECK (credits >= 0),
  CONSTRAINT users_entry_count_not_negative CHECK (entry_count >= 0),
  CONSTRAINT users_version_positive CHECK (version > 0),
  CONSTRAINT users_subject_length CHECK (char_length(subject) BETWEEN 1 AND 255)
) WITH (fillfactor = 70); -- room for HOT updates: credits change often

CREATE FUNCTION video_status_rank(status text) RETURNS integer
IMMUTABLE LANGUAGE sql
RETURN array_position(
  ARRAY[
    'QUEUED', 'GENERATING_AUDIO', 'GENERATING_CAPTIONS', 'GENERATING_IMAGE_PROMPTS', 'GENERATING_IMAGES',
    'READY', 'RENDER_QUEUED', 'RENDERING', 'COMPLETED'
  ],
  status
);

CREATE FUNCTION video_status_is_final(status text) RETURNS boolean
IMMUTABLE LANGUAGE sql
RETURN status IN ('COMPLETED', 'FAILED', 'CANCELED');

-- The lifecycle: forward moves may skip stages, FAILED and CANCELED end any of them, and nothing follows a final status.
-- (A retry is no move: it begins a new attempt.)
CREATE FUNCTION video_status_may_follow(present text, following text) RETURNS boolean
IMMUTABLE LANGUAGE sql
RETURN NOT video_status_is_final(present)
AND (following IN ('FAILED', 'CANCELED') OR coalesce(video_status_rank(following) > video_status_rank(present), FALSE));

CREATE TABLE video_data (
  user_id uuid NOT NULL,
  id uuid NOT NULL DEFAULT uuidv7(),
  idempotency_key text NOT NULL,
  title text NOT NULL,
  video_style text NOT NULL,
  topic text,
  script text,
  caption jsonb,
  voice_id text,
  voice_name text,
  music_track_name text,
  music_track_url text,
  images jsonb,
  caption_json jsonb,
  config jsonb,
  audio_url text,
  download_url text,
  created_by text,
  status text NOT NULL DEFAULT 'QUEUED',
  comments jsonb,
  render_progress integer NOT NULL DEFAULT 0,
  render_id text,
  bucket_name text,
  queue_number bigint, -- place in the render queue, while in it
  queued_at timestamptz,
  render_started_at timestamptz,
  trashed_at timestamptz,
  volume_background_music double precision NOT NULL DEFAULT 0.4,
  volume_voice double precision NOT NULL DEFAULT 1,
  attempt integer NOT NULL DEFAULT 1,
  cost integer NOT NULL, -- what the present attempt was charged, so that a refund gives back what was paid
  event_count integer NOT NULL DEFAULT 1, -- the number of the newest video event
  version bigint NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT video_data_id_once PRIMARY KEY (user_id, id),
  CONSTRAINT video_data_user_id_exists FOREIGN KEY (user_id) REFERENCES users (user_id),
  CONSTRAINT video_data_idempotency_key_once UNIQUE (user_id, idempotency_key),
  CONSTRAINT video_data_idempotency_key_length CHECK (char_length(idempotency_key) BETWEEN 1 AND 255),
  CONSTRAINT video_data_title_not_empty CHECK (title <> ''),
  CONSTRAINT video_data_status_known CHECK (video_status_rank(status) IS NOT NULL OR status IN ('FAILED', 'CANCELED')),
  CONSTRAINT video_data_render_progress_range CHECK (render_progress BETWEEN 0 AND 100),
  CONSTRAINT video_data_render_progress_completed CHECK (status <> 'COMPLETED' OR render_progress = 100),
  CONSTRAINT video_data_queue_number_while_queued CHECK ((status = 'RENDER_QUEUED') = (queue_number IS NOT NULL)),
  CONSTRAINT video_data_voice_whole CHECK ((voice_id IS NULL) = (voice_name IS NULL)),
  CONSTRAINT video_data_music_track_whole CHECK ((music_track_name IS NULL) = (music_track_url IS NULL)),
  CONSTRAINT video_data_volume_background_music_range CHECK (volume_background_music BETWEEN 0 AND 1),
  CONSTRAINT video_data_volume_voice_range CHECK (volume_voice BETWEEN 0 AND 1),
  CONSTRAINT video_data_attempt_positive CHECK (attempt > 0),
  CONSTRAINT video_data_cost_positive CHECK (cost > 0),
  CONSTRAINT video_data_event_count_positive CHECK (event_count > 0),
  CONSTRAINT video_data_version_positive CHECK (version > 0)
) WITH (fillfactor = 85);

CREATE SEQUENCE video_data_queue_number AS bigint;

CREATE UNIQUE INDEX video_data_queue_number_once ON video_data (queue_number) WHERE queue_number IS NOT NULL;

-- Newest first over all users, for the admin page.
CREATE INDEX video_data_newest ON video_data (id);

CREATE TABLE credit_entries (
  user_id uuid NOT NULL,
  number bigint NOT NULL, -- 1, 2, 3 … for each user, without gaps
  kind text NOT NULL,
  amount integer NOT NULL,
  balance_after integer NOT NULL,
  video_id uuid,
  attempt integer,
  idempotency_key text,
  request_hash bytea, -- SHA-256 of the canonical arguments that the key belongs to
  actor text NOT NULL, -- role and subject of whoever did it
  memo text,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT credit_entries_number_once PRIMARY KEY (user_id, number),
  CONSTRAINT credit_entries_user_id_exists FOREIGN KEY (user_id) REFERENCES users (user_id),
  CONSTRAINT credit_entries_video_id_exists FOREIGN KEY (user_id, video_id) REFERENCES video_data (user_id, id),
  CONSTRAINT credit_entries_idempotency_key_once UNIQUE (user_id, idempotency_key),
  CONSTRAINT credit_entries_number_positive CHECK (number > 0),
  CONSTRAINT credit_entries_kind_known CHECK (kind IN ('SIGNUP', 'PURCHASE', 'REWARD', 'ADJUSTMENT', 'CHARGE', 'REFUND')),
  CONSTRAINT credit_entries_amount_sign CHECK (
    CASE WHEN kind = 'CHARGE' THEN amount < 0 WHEN kind IN ('REFUND', 'SIGNUP') THEN amount > 0 ELSE amount <> 0 END
  ),
  CONSTRAINT credit_entries_balance_after_not_negative CHECK (balance_after >= 0),
  CONSTRAINT credit_entries_balance_after_follows CHECK (
    CASE WHEN number = 1 THEN balance_after = amount ELSE balance_after::bigint - amount BETWEEN 0 AND 2147483647 END
  ),
  CONSTRAINT credit_entries_video_id_of_kind CHECK ((kind IN ('CHARGE', 'REFUND')) = (video_id IS NOT NULL)),
  CONSTRAINT credit_entries_attempt_of_video CHECK ((video_id IS NULL) = (attempt IS NULL)),
  CONSTRAINT credit_entries_idempotency_key_of_kind CHECK ((kind IN ('SIGNUP', 'REFUND')) = (idempotency_key IS NULL)),
  CONSTRAINT credit_entries_idempotency_key_length CHECK (char_length(idempotency_key) BETWEEN 1 AND 255),
  CONSTRAINT credit_entries_request_hash_of_key CHECK (
    (idempotency_key IS NULL) = (request_hash IS NULL) AND octet_length(request_hash) = 32
  ),
  CONSTRAINT credit_entries_actor_not_empty CHECK (actor <> '')
);

-- One CHARGE and at most one REFUND for each attempt at a video.
CREATE UNIQUE INDEX credit_entries_kind_once ON credit_entries (user_id, video_id, attempt, kind) WHERE video_id IS NOT NULL;

CREATE TABLE video_events (
  user_id uuid NOT NULL,
  video_id uuid NOT NULL,
  number integer NOT NULL, -- 1, 2, 3 … for each video, without gaps
  status text NOT NULL,
  attempt integer NOT NULL,
  actor text NOT NULL,
  comments jsonb,
  created_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT video_events_number_once PRIMARY KEY (user_id, video_id, number),
  CONSTRAINT video_events_video_id_exists FOREIGN KEY (user_id, video_id) REFERENCES video_data (user_id, id),
  CONSTRAINT video_events_number_positive CHECK (number > 0),
  CONSTRAINT video_events_status_known CHECK (video_status_rank(status) IS NOT NULL OR status IN ('FAILED', 'CANCELED')),
  CONSTRAINT video_events_attempt_positive CHECK (attempt > 0),
  CONSTRAINT video_events_actor_not_empty CHECK (actor <> '')
);

-- The ledger and the history are append-only: what was written stays.
CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
    USING ERRCODE = 'restrict_violation', CONSTRAINT = TG_NAME, TABLE = TG_TABLE_NAME;
END
$$;

CREATE TRIGGER credit_entries_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON credit_entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TRIGGER video_events_append_only
BEFORE UPDATE OR DELETE OR TRUNCATE ON video_events
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- No balance changes but by an entry that explains it: when the statement ends, the newest entry has the balance, and the
-- balance is that of the entry before plus the amount. By induction the ledger has no gap and its sum is the balance.
CREATE FUNCTION require_explained_credits() RETURNS trigger
LANGUAGE plpgsql AS $$
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
  RETURN NULL;
END
$$;

CREATE TRIGGER users_credits_explained_from_the_start
AFTER INSERT ON users
FOR EACH ROW EXECUTE FUNCTION require_explained_credits();

CREATE TRIGGER users_credits_explained
AFTER UPDATE ON users
FOR EACH ROW WHEN (old.credits <> new.credits OR old.entry_count <> new.entry_count)
EXECUTE FUNCTION require_explained_credits();
