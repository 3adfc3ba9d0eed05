-- Videos that wait to be rendered, the longest waiting first.
-- $1 after and $2 before: queue ids, exclusive, the type's ends where there is none; $3 limit.
SELECT video_data.*
FROM video_data
WHERE video_data.queue_id > $1::uuid AND video_data.queue_id < $2::uuid
ORDER BY video_data.queue_id ASC
LIMIT $3::integer
