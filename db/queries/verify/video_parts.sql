-- Videos with an empty title, half a voice or music track, or a volume that is not 0 to 1.
-- $1 wallet_id (null: all wallets).
WITH judged AS (
  SELECT
    wallet_id, id,
    CASE
      WHEN coalesce(title, '') = '' THEN 'the title is empty'
      WHEN (voice_id IS NULL) <> (voice_name IS NULL) THEN 'a voice has an id and a name, and one of them is missing'
      WHEN (music_track_name IS NULL) <> (music_track_url IS NULL) THEN 'a music track has a name and a URL, and one of them is missing'
      WHEN (volume_background_music BETWEEN 0 AND 1) IS NOT TRUE THEN 'the volume of the background music is not 0 to 1'
      WHEN (volume_voice BETWEEN 0 AND 1) IS NOT TRUE THEN 'the volume of the voice is not 0 to 1'
    END AS fault
  FROM video_data
  WHERE $1::uuid IS NULL OR wallet_id = $1
)

SELECT
  wallet_id,
  id AS video_id,
  NULL::bigint AS number,
  fault AS detail
FROM judged
WHERE fault IS NOT NULL
ORDER BY wallet_id, id
