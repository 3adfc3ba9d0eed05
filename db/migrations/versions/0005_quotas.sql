-- Counters for the quotas of one user: how many attempts at videos were begun on a day, and how much content the videos hold
-- (docs/decisions/0019-quotas.md). The statements that charge a user, and those that store content, keep them; `verify` compares them
-- with the rows that they count.

-- Until all are counted, nobody may charge or store: code from before this migration counts nothing.
LOCK TABLE users, video_data, credit_entries;

-- The size of a JSON value as PostgreSQL stores it, before compression; `#> '{}'` is the value itself, decompressed.
CREATE FUNCTION json_bytes(value jsonb) RETURNS integer
STABLE LANGUAGE sql
RETURN coalesce(pg_column_size(value #> '{}'), 0);

-- A video holds whole blocks of 64 KiB, and at least one: so an update that needs no other number of them, as most need none, leaves
-- its user's row alone.
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

ALTER TABLE video_data
ADD COLUMN script_bytes integer NOT NULL DEFAULT 0, -- each of its column, so that an update need not read what it replaces
ADD COLUMN caption_bytes integer NOT NULL DEFAULT 0,
ADD COLUMN images_bytes integer NOT NULL DEFAULT 0,
ADD COLUMN caption_json_bytes integer NOT NULL DEFAULT 0,
ADD COLUMN config_bytes integer NOT NULL DEFAULT 0;

ALTER TABLE users
ADD COLUMN stored_bytes bigint NOT NULL DEFAULT 0, -- what all of the user's videos hold, by video_stored_bytes
ADD COLUMN creations_day date, -- the day of the newest CHARGE
ADD COLUMN creations integer NOT NULL DEFAULT 0; -- how many CHARGEs were written on it, since the last one of another day

UPDATE video_data SET
  script_bytes = coalesce(octet_length(script), 0),
  caption_bytes = json_bytes(caption),
  images_bytes = json_bytes(images),
  caption_json_bytes = json_bytes(caption_json),
  config_bytes = json_bytes(config);

WITH held AS (
  SELECT
    user_id,
    sum(video_stored_bytes(script_bytes + caption_bytes + images_bytes + caption_json_bytes + config_bytes)) AS bytes
  FROM video_data
  GROUP BY user_id
),

charge AS (
  SELECT
    user_id, number,
    (created_at AT TIME ZONE 'UTC')::date AS day,
    first_value((created_at AT TIME ZONE 'UTC')::date) OVER (PARTITION BY user_id ORDER BY number DESC) AS newest_day
  FROM credit_entries
  WHERE kind = 'CHARGE'
),

marked AS (
  SELECT
    user_id, number, day, newest_day,
    max(CASE WHEN day <> newest_day THEN number END) OVER (PARTITION BY user_id) AS last_of_another_day
  FROM charge
),

counted AS (
  SELECT
    user_id,
    newest_day,
    count(*) AS charges
  FROM marked
  WHERE number > coalesce(last_of_another_day, 0)
  GROUP BY user_id, newest_day
)

UPDATE users SET
  stored_bytes = coalesce(held.bytes, 0),
  creations_day = counted.newest_day,
  creations = coalesce(counted.charges, 0)
FROM users AS present
LEFT JOIN held ON present.user_id = held.user_id
LEFT JOIN counted ON present.user_id = counted.user_id
WHERE users.user_id = present.user_id;
