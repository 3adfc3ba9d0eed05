-- Store what the generation job and the editor page store, unless somebody else saved first.
-- It takes 1 to 64 calls, sorted by user and video, as arrays: user_id, video_id, expected_version (null: any), stored (a JSON object of
-- columns and their new values; the other columns stay as they are), storage_max (bytes that the user's videos may hold together; null:
-- any number) and request_id. It answers each call, by its place in the arrays, as if the calls ran one after the other: outcome; the
-- video, if there is one; and when the quota refuses, its usage. Outcomes in order of precedence:
--   video_data_not_found, version_conflict, storage_exceeded (what holds no more than before is never refused), updated.
-- A rerun, whose first reply was lost, finds its request id on the video and changes nothing: the expected version was the one before its
-- own change, and others may have saved since.
-- Race-free because the users whose storage may change and then the videos are locked, in the order of their ids, before they are read:
-- every later statement sees all that was committed before the locks.
CREATE OR REPLACE FUNCTION update_video_data(
  user_id_of uuid[], video_id_of uuid[], expected_version_of bigint[], stored_of text[], storage_max_of bigint[], request_id_of bigint[]
) RETURNS TABLE (place integer, outcome text, video video_data, quota quota)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  large CONSTANT text[] := ARRAY['script', 'images', 'caption_json', 'config'];
  stored jsonb;
  new video_data;
  held_bytes bigint;
  more_bytes bigint;
BEGIN
  PERFORM FROM users
  WHERE user_id IN (
    SELECT call.user_id FROM unnest(user_id_of, stored_of) AS call (user_id, stored) WHERE call.stored::jsonb ?| large
  )
  ORDER BY user_id
  FOR NO KEY UPDATE;
  FOR i IN 1 .. cardinality(user_id_of) LOOP
    place := i;
    quota := NULL;
    SELECT * INTO video FROM video_data WHERE user_id = user_id_of[i] AND id = video_id_of[i] FOR NO KEY UPDATE;
    video.script := NULL;
    video.caption := NULL;
    video.images := NULL;
    video.caption_json := NULL;
    video.config := NULL;
    outcome := CASE
      WHEN video.id IS NULL THEN 'video_data_not_found'
      WHEN request_id_of[i] = ANY (video.request_ids) THEN 'updated'
      WHEN video.version <> expected_version_of[i] THEN 'version_conflict'
    END;
    IF outcome IS NOT NULL THEN
      RETURN NEXT;
      CONTINUE;
    END IF;
    stored := stored_of[i]::jsonb;
    new := jsonb_populate_record(video, stored);
    more_bytes := 0;
    IF stored ?| large THEN
      IF stored ? 'script' THEN
        new.script_bytes := coalesce(octet_length(new.script), 0);
      END IF;
      IF stored ? 'images' THEN
        new.images_bytes := json_bytes(new.images);
      END IF;
      IF stored ? 'caption_json' THEN
        new.caption_json_bytes := json_bytes(new.caption_json);
      END IF;
      IF stored ? 'config' THEN
        new.config_bytes := json_bytes(new.config);
      END IF;
      more_bytes :=
        video_stored_bytes(new.script_bytes + new.caption_bytes + new.images_bytes + new.caption_json_bytes + new.config_bytes)
        - video_stored_bytes(video.script_bytes + video.caption_bytes + video.images_bytes + video.caption_json_bytes + video.config_bytes);
      SELECT stored_bytes INTO held_bytes FROM users WHERE user_id = user_id_of[i];
      IF more_bytes > 0 AND held_bytes + more_bytes > storage_max_of[i] THEN
        outcome := 'storage_exceeded';
        quota := ROW (held_bytes, NULL);
        RETURN NEXT;
        CONTINUE;
      END IF;
    END IF;
    outcome := 'updated';
    UPDATE video_data SET
      script = CASE WHEN stored ? 'script' THEN new.script ELSE script END,
      images = CASE WHEN stored ? 'images' THEN new.images ELSE images END,
      caption_json = CASE WHEN stored ? 'caption_json' THEN new.caption_json ELSE caption_json END,
      config = CASE WHEN stored ? 'config' THEN new.config ELSE config END,
      script_bytes = new.script_bytes,
      images_bytes = new.images_bytes,
      caption_json_bytes = new.caption_json_bytes,
      config_bytes = new.config_bytes,
      music_track_name = new.music_track_name,
      music_track_url = new.music_track_url,
      volume_background_music = new.volume_background_music,
      volume_voice = new.volume_voice,
      audio_url = new.audio_url,
      download_url = new.download_url,
      render_id = new.render_id,
      bucket_name = new.bucket_name,
      version = version + 1,
      updated_at = now(),
      request_ids = with_request_id(request_ids, request_id_of[i])
    WHERE user_id = user_id_of[i] AND id = video_id_of[i]
    RETURNING version, updated_at INTO new.version, new.updated_at;
    IF more_bytes <> 0 THEN
      UPDATE users SET stored_bytes = stored_bytes + more_bytes WHERE user_id = user_id_of[i];
    END IF;
    video := new;
    video.script := NULL;
    video.images := NULL;
    video.caption_json := NULL;
    video.config := NULL;
    RETURN NEXT;
  END LOOP;
END
$$;
