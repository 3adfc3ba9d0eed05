-- Put a video into the trash, or take it out again.
-- It takes 1 to 64 calls, sorted by wallet and video, as arrays: wallet_id, video_id, is_trashed (whether it is to be in the trash) and
-- request_id. It answers each call, by its place in the arrays, as if the calls ran one after the other: outcome (video_data_not_found,
-- unchanged, changed) and the video, if there is one.
-- A rerun, whose first reply was lost, finds its request id on the video and changes nothing: others may have taken the video out again.
-- Race-free because each video is locked, in the order of their ids, before it is judged.
CREATE OR REPLACE FUNCTION trash_video_data(
  wallet_id_of uuid[], video_id_of uuid[], is_trashed_of boolean[], request_id_of bigint[]
) RETURNS TABLE (place integer, outcome text, video video_data)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
  FOR i IN 1 .. cardinality(wallet_id_of) LOOP
    place := i;
    SELECT * INTO video FROM video_data WHERE wallet_id = wallet_id_of[i] AND id = video_id_of[i] FOR NO KEY UPDATE;
    outcome := CASE
      WHEN video.id IS NULL THEN 'video_data_not_found'
      WHEN request_id_of[i] = ANY (video.request_ids) THEN 'changed'
      WHEN (video.trashed_at IS NOT NULL) = is_trashed_of[i] THEN 'unchanged'
    END;
    IF outcome IS NULL THEN
      outcome := 'changed';
      UPDATE video_data SET
        trashed_at = CASE WHEN is_trashed_of[i] THEN now() END,
        version = version + 1,
        updated_at = now(),
        request_ids = with_request_id(request_ids, request_id_of[i])
      WHERE wallet_id = wallet_id_of[i] AND id = video_id_of[i]
      RETURNING * INTO video;
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;
