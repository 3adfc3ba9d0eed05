-- Credit entries of each of these videos ($1 owners' ids uuid[], $2 videos' ids uuid[], pairwise), newest first.
-- $3 after and $4 before: numbers, exclusive, the type's ends where there is none; $5 limit for each; $6 true for the last page's
-- end: the rows nearest `before`, in reverse. Only the branch of that direction is executed.
SELECT
  page.user_id, page.number, page.kind, page.amount, page.balance_after, page.video_id, page.attempt,
  page.idempotency_key, page.actor, page.memo, page.created_at
FROM unnest($1::uuid[], $2::uuid[]) AS owner (user_id, video_id)
CROSS JOIN LATERAL (
  (
    SELECT * FROM credit_entries
    WHERE
      credit_entries.user_id = owner.user_id
      AND credit_entries.video_id = owner.video_id
      AND NOT $6::boolean
      AND credit_entries.number < $3::bigint
      AND credit_entries.number > $4::bigint
    ORDER BY credit_entries.number DESC
    LIMIT $5::integer
  )
  UNION ALL
  (
    SELECT * FROM credit_entries
    WHERE
      credit_entries.user_id = owner.user_id
      AND credit_entries.video_id = owner.video_id
      AND $6::boolean
      AND credit_entries.number < $3::bigint
      AND credit_entries.number > $4::bigint
    ORDER BY credit_entries.number ASC
    LIMIT $5::integer
  )
) AS page
