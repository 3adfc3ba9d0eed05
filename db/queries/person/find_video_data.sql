-- Videos of the user $1 user_id, in any wallet, of which something is left to erase, and whether each still runs.
SELECT
  video.wallet_id,
  video.id,
  NOT video_status_is_final(video.status) AS is_running
FROM video_data AS video LEFT JOIN video_contents AS content ON video.wallet_id = content.wallet_id AND video.id = content.video_id
WHERE
  video.user_id = $1
  AND (
    NOT video_status_is_final(video.status)
    OR content.video_id IS NOT NULL
    OR EXISTS (
      SELECT FROM video_texts() AS texts
      WHERE coalesce(to_jsonb(video) ->> texts.name, 'erased') <> 'erased'
    )
  )
