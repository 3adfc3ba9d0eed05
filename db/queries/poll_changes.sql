-- Wallets of which something differs from what was seen of it last; and, in a row without a wallet, a digest of the render queue.
-- Wallets: $1 ids uuid[], $2 versions bigint[]. Videos: $3 wallets uuid[], $4 ids uuid[], $5 versions bigint[]. A version that is null
-- saw no row, one that no row has saw nothing. Pages of a wallet's newest videos: $6 wallets uuid[], $7 sizes integer[], $8 statuses
-- text[], each list joined by commas (null: all), $9 trashed boolean[] (null: either), $10 digests of ids and versions text[].
-- $11 whether to digest the queue: an id that has left it never comes back, so no two queues have the same digest.
SELECT
  seen.wallet_id,
  NULL::bigint AS queue_digest
FROM unnest($1::uuid[], $2::bigint[]) AS seen (wallet_id, version)
WHERE
  seen.version IS DISTINCT FROM (
    SELECT wallets.version FROM wallets
    WHERE wallets.wallet_id = seen.wallet_id
  )
UNION
SELECT
  seen.wallet_id,
  NULL
FROM unnest($3::uuid[], $4::uuid[], $5::bigint[]) AS seen (wallet_id, id, version)
WHERE
  seen.version IS DISTINCT FROM (
    SELECT video_data.version FROM video_data
    WHERE video_data.wallet_id = seen.wallet_id AND video_data.id = seen.id
  )
UNION
SELECT
  seen.wallet_id,
  NULL
FROM unnest($6::uuid[], $7::integer[], $8::text[], $9::boolean[], $10::text[]) AS seen (wallet_id, size, statuses, trashed, digest)
WHERE
  seen.digest <> (
    SELECT md5(coalesce(string_agg(page.id || ':' || page.version, ',' ORDER BY page.id DESC), ''))
    FROM (
      SELECT
        video_data.id,
        video_data.version
      FROM video_data
      WHERE
        video_data.wallet_id = seen.wallet_id
        AND (seen.statuses IS NULL OR video_data.status = any(string_to_array(seen.statuses, ',')))
        AND (seen.trashed IS NULL OR (video_data.trashed_at IS NOT NULL) = seen.trashed)
      ORDER BY video_data.id DESC
      LIMIT seen.size
    ) AS page
  )
UNION ALL
SELECT
  NULL,
  (
    SELECT coalesce(bit_xor(uuid_hash_extended(video_data.queue_id, 0)), 0) FROM video_data
    WHERE video_data.queue_id IS NOT NULL
  )
WHERE $11::boolean
