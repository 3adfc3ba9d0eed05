-- Store what the generation job and the editor page store, unless somebody else saved first.
-- It takes 1 to 64 calls, sorted by wallet and video, as arrays: wallet_id, video_id, expected_version (null: any), stored (a JSON object of
-- columns and their new values; the other columns stay as they are), storage_max (bytes that the wallet's videos may hold together; null:
-- any number) and request_id. It answers each call, by its place in the arrays, as if the calls ran one after the other: outcome; the
-- video, if there is one; and when the quota refuses, its usage. Outcomes in order of precedence:
--   video_data_not_found, unchanged (the video has all these values), version_conflict (somebody saved after the expected version; reports
--   are no saves), storage_exceeded (what holds no more than before is never refused), updated.
-- A rerun, whose first reply was lost, finds its request id on the video and changes nothing: the expected version was the one before its
-- own change, and others may have saved since.
-- Race-free because the wallets whose storage may change and then the videos are locked, in the order of their ids, before they are read:
-- every later statement sees all that was committed before the locks.
CREATE OR REPLACE FUNCTION update_video_data(
  wallet_id_of uuid[], video_id_of uuid[], expected_version_of bigint[], stored_of text[], storage_max_of bigint[], request_id_of bigint[]
) RETURNS TABLE (place integer, outcome text, video video_data, quota quota)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  large CONSTANT text[] := ARRAY['script', 'images', 'caption_json', 'config'];
  stored jsonb;
  saved video_data;
  content video_contents;
  held_bytes bigint;
  more_bytes bigint;
BEGIN
  PERFORM FROM wallets
  WHERE wallet_id IN (
    SELECT call.wallet_id FROM unnest(wallet_id_of, stored_of) AS call (wallet_id, stored) WHERE call.stored::jsonb ?| large
  )
  ORDER BY wallet_id
  FOR NO KEY UPDATE;
  FOR i IN 1 .. cardinality(wallet_id_of) LOOP
    place := i;
    quota := NULL;
    SELECT * INTO video FROM video_data WHERE wallet_id = wallet_id_of[i] AND id = video_id_of[i] FOR NO KEY UPDATE;
    outcome := CASE
      WHEN video.id IS NULL THEN 'video_data_not_found'
      WHEN request_id_of[i] = ANY (video.request_ids) THEN 'updated'
    END;
    IF outcome IS NOT NULL THEN
      RETURN NEXT;
      CONTINUE;
    END IF;
    stored := stored_of[i]::jsonb;
    saved := jsonb_populate_record(video, stored);
    IF stored ?| large THEN
      SELECT * INTO content FROM video_contents WHERE wallet_id = wallet_id_of[i] AND video_id = video_id_of[i];
      IF NOT FOUND THEN
        content.wallet_id := wallet_id_of[i];
        content.video_id := video_id_of[i];
        content.script_bytes := 0;
        content.caption_bytes := 0;
        content.images_bytes := 0;
        content.caption_json_bytes := 0;
        content.config_bytes := 0;
      END IF;
    END IF;
    outcome := CASE
      WHEN
        saved IS NOT DISTINCT FROM video
        AND NOT (stored ? 'script' AND content.script IS DISTINCT FROM stored ->> 'script')
        AND NOT (stored ? 'images' AND content.images IS DISTINCT FROM nullif(stored -> 'images', 'null'))
        AND NOT (stored ? 'caption_json' AND content.caption_json IS DISTINCT FROM nullif(stored -> 'caption_json', 'null'))
        AND NOT (stored ? 'config' AND content.config IS DISTINCT FROM nullif(stored -> 'config', 'null'))
        THEN 'unchanged'
      WHEN expected_version_of[i] NOT BETWEEN video.saved_version AND video.version THEN 'version_conflict'
    END;
    IF outcome IS NOT NULL THEN
      RETURN NEXT;
      CONTINUE;
    END IF;
    IF stored ?| large THEN
      more_bytes := -video_stored_bytes(
        content.script_bytes + content.caption_bytes + content.images_bytes + content.caption_json_bytes + content.config_bytes
      );
      IF stored ? 'script' THEN
        content.script := stored ->> 'script';
        content.script_bytes := coalesce(octet_length(content.script), 0);
      END IF;
      IF stored ? 'images' THEN
        content.images := nullif(stored -> 'images', 'null');
        content.images_bytes := json_bytes(content.images);
      END IF;
      IF stored ? 'caption_json' THEN
        content.caption_json := nullif(stored -> 'caption_json', 'null');
        content.caption_json_bytes := json_bytes(content.caption_json);
      END IF;
      IF stored ? 'config' THEN
        content.config := nullif(stored -> 'config', 'null');
        content.config_bytes := json_bytes(content.config);
      END IF;
      more_bytes := more_bytes + video_stored_bytes(
        content.script_bytes + content.caption_bytes + content.images_bytes + content.caption_json_bytes + content.config_bytes
      );
      SELECT stored_bytes INTO held_bytes FROM wallets WHERE wallet_id = wallet_id_of[i];
      IF more_bytes > 0 AND held_bytes + more_bytes > storage_max_of[i] THEN
        outcome := 'storage_exceeded';
        quota := ROW (held_bytes, NULL);
        RETURN NEXT;
        CONTINUE;
      END IF;
      UPDATE video_contents SET
        script = content.script,
        images = content.images,
        caption_json = content.caption_json,
        config = content.config,
        script_bytes = content.script_bytes,
        images_bytes = content.images_bytes,
        caption_json_bytes = content.caption_json_bytes,
        config_bytes = content.config_bytes
      WHERE wallet_id = wallet_id_of[i] AND video_id = video_id_of[i];
      IF NOT FOUND THEN
        INSERT INTO video_contents SELECT (content).*;
      END IF;
      IF more_bytes <> 0 THEN
        UPDATE wallets SET stored_bytes = stored_bytes + more_bytes WHERE wallet_id = wallet_id_of[i];
      END IF;
    END IF;
    outcome := 'updated';
    UPDATE video_data SET
      music_track_name = saved.music_track_name,
      music_track_url = saved.music_track_url,
      volume_background_music = saved.volume_background_music,
      volume_voice = saved.volume_voice,
      audio_url = saved.audio_url,
      download_url = saved.download_url,
      render_id = saved.render_id,
      bucket_name = saved.bucket_name,
      version = version + 1,
      saved_version = version + 1,
      updated_at = now(),
      request_ids = with_request_id(request_ids, request_id_of[i])
    WHERE wallet_id = wallet_id_of[i] AND id = video_id_of[i]
    RETURNING * INTO video;
    RETURN NEXT;
  END LOOP;
END
$$;
