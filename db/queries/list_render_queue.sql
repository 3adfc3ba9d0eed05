-- Videos that wait to be rendered, the longest waiting first.
-- $1 after and $2 before: queue ids, exclusive, the type's ends where there is none; $3 limit for each; $4 true for the last page's
-- end: the rows nearest `before`, in reverse. Only the branch of that direction is executed.
SELECT page.*
FROM (
  (
    SELECT * FROM video_data
    WHERE NOT $4::boolean AND video_data.queue_id > $1::uuid AND video_data.queue_id < $2::uuid
    ORDER BY video_data.queue_id ASC
    LIMIT $3::integer
  )
  UNION ALL
  (
    SELECT * FROM video_data
    WHERE $4::boolean AND video_data.queue_id > $1::uuid AND video_data.queue_id < $2::uuid
    ORDER BY video_data.queue_id DESC
    LIMIT $3::integer
  )
) AS page
