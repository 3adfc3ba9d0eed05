-- The large content of videos moves to a table of its own: what changes a video often, and what reads videos, is not to carry it along.

-- All at once, so that nothing is looked through while one is still waited for.
LOCK TABLE users, video_data, credit_entries, video_events;

CREATE TABLE video_contents (
  user_id uuid NOT NULL,
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
  CONSTRAINT video_contents_video_id_once PRIMARY KEY (user_id, video_id),
  CONSTRAINT video_contents_video_id_exists FOREIGN KEY (user_id, video_id) REFERENCES video_data (user_id, id)
);

INSERT INTO video_contents
SELECT
  user_id, id, script, caption, images, caption_json, config, script_bytes, caption_bytes, images_bytes, caption_json_bytes, config_bytes
FROM video_data
WHERE num_nonnulls(script, caption, images, caption_json, config) > 0;

ALTER TABLE video_data
DROP COLUMN script,
DROP COLUMN caption,
DROP COLUMN images,
DROP COLUMN caption_json,
DROP COLUMN config,
DROP COLUMN script_bytes,
DROP COLUMN caption_bytes,
DROP COLUMN images_bytes,
DROP COLUMN caption_json_bytes,
DROP COLUMN config_bytes;
