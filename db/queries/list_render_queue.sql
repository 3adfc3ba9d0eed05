-- Videos that wait to be rendered, the longest waiting first.
-- $1 after and $2 before: queue numbers, exclusive, the type's ends where there is none; $3 limit for each; $4 true for the last page's
-- end: the rows nearest `before`, in reverse. Only the branch of that direction is executed.
SELECT page.*
FROM (
  (
    SELECT * FROM video_data
    WHERE NOT $4::boolean AND video_data.queue_number > $1::bigint AND video_data.queue_number < $2::bigint
    ORDER BY video_data.queue_number ASC
    LIMIT $3::integer
  )
  UNION ALL
  (
    SELECT * FROM video_data
    WHERE $4::boolean AND video_data.queue_number > $1::bigint AND video_data.queue_number < $2::bigint
    ORDER BY video_data.queue_number DESC
    LIMIT $3::integer
  )
) AS page
