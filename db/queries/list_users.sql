-- Users, newest first.
-- $1 after and $2 before: numbers, exclusive, the type's ends where there is none; $3 limit for each; $4 true for the last page's
-- end: the rows nearest `before`, in reverse. Only the branch of that direction is executed.
SELECT page.*
FROM (
  (
    SELECT * FROM users
    WHERE NOT $4::boolean AND users.number < $1::bigint AND users.number > $2::bigint
    ORDER BY users.number DESC
    LIMIT $3::integer
  )
  UNION ALL
  (
    SELECT * FROM users
    WHERE $4::boolean AND users.number < $1::bigint AND users.number > $2::bigint
    ORDER BY users.number ASC
    LIMIT $3::integer
  )
) AS page
