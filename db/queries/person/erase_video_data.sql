-- Erase the texts of videos that have ended ($1 wallet_ids and $2 ids), and free what their content takes of the wallets' storage.
-- The wallets must be locked; the videos are locked in the order of their ids, as by mutations.
WITH ended AS (
  SELECT
    video_data.wallet_id,
    video_data.id
  FROM unnest($1::uuid[], $2::uuid[]) AS given (wallet_id, id)
  INNER JOIN video_data ON given.wallet_id = video_data.wallet_id AND given.id = video_data.id
  WHERE video_status_is_final(video_data.status)
  ORDER BY video_data.wallet_id, video_data.id
  FOR NO KEY UPDATE OF video_data
),

video AS (
  UPDATE video_data SET
    title = 'erased',
    video_style = 'erased',
    topic = NULL,
    voice_id = NULL,
    voice_name = NULL,
    music_track_name = NULL,
    music_track_url = NULL,
    audio_url = NULL,
    download_url = NULL,
    created_by = NULL,
    comments = NULL,
    render_id = NULL,
    bucket_name = NULL,
    version = version + 1,
    updated_at = now()
  FROM ended
  WHERE video_data.wallet_id = ended.wallet_id AND video_data.id = ended.id
  RETURNING video_data.wallet_id, video_data.id
),

content AS (
  DELETE FROM video_contents
  USING video
  WHERE video_contents.wallet_id = video.wallet_id AND video_contents.video_id = video.id
  RETURNING
    video_contents.wallet_id,
    video_stored_bytes(script_bytes + caption_bytes + images_bytes + caption_json_bytes + config_bytes) - video_stored_bytes(0) AS bytes
),

freed AS (
  UPDATE wallets SET stored_bytes = stored_bytes - content.bytes
  FROM (
    SELECT wallet_id, sum(bytes) AS bytes FROM content
    GROUP BY wallet_id
  ) AS content
  WHERE wallets.wallet_id = content.wallet_id
)

SELECT count(*) FROM video
