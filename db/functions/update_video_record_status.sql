-- Take a report about a video: its status, its progress, comments, a download URL. A report that ends the present attempt in FAILED or
-- CANCELED gives back what it was charged, once.
-- It takes 1 to 64 calls, sorted by wallet and video, as arrays: wallet_id, video_id, status (null: the present one), comments (JSON),
-- render_progress, download_url (null: as they are), attempt that the report is about (null: the present one), actor and request_id. It
-- answers each call, by its place in the arrays, as if the calls ran one after the other: outcome, and the wallet, the video and the
-- present attempt's REFUND entry as far as they exist. Outcomes in order of precedence:
--   video_data_not_found, stale_attempt, illegal_transition, credits_out_of_range, moved; without a move: contradictory (the attempt has
--   ended otherwise), unchanged, noted (what is not the status).
-- A move replaces the comments. Without a move, comments and a download URL are noted, after the end of an attempt only where there are
-- none; the present status again, as of a second worker that would begin the same stage, brings no more than progress.
-- A rerun, whose first reply was lost, finds its request id on the video and answers as the first run did, with the rows as they are now.
-- (Only where the present status came with progress is it 'moved' instead of 'noted', between which clients see no difference.)
-- Race-free because the wallets that may get a refund and then all videos are locked, each in the order of their ids, before anything is
-- read: every later statement sees all that was committed before the locks. The balance changes by a guarded increment.
CREATE OR REPLACE FUNCTION update_video_record_status(
  wallet_id_of uuid[], video_id_of uuid[], status_of text[], comments_of text[], render_progress_of integer[], download_url_of text[],
  attempt_of integer[], actor_of text[], request_id_of bigint[]
) RETURNS TABLE (place integer, outcome text, wallet wallets, video video_data, entry credit_entries)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  first integer;
  last integer := 0;
BEGIN
  IF EXISTS (SELECT FROM unnest(status_of) AS given (status) WHERE video_status_is_refunded(given.status)) THEN
    PERFORM FROM wallets
    WHERE wallet_id IN (
      SELECT call.wallet_id FROM unnest(wallet_id_of, status_of) AS call (wallet_id, status) WHERE video_status_is_refunded(call.status)
    )
    ORDER BY wallet_id
    FOR NO KEY UPDATE;
  END IF;
  PERFORM FROM unnest(wallet_id_of, video_id_of) AS call (wallet_id, id)
  INNER JOIN video_data AS present ON call.wallet_id = present.wallet_id AND call.id = present.id
  ORDER BY present.wallet_id, present.id
  FOR NO KEY UPDATE OF present;

  WHILE last < cardinality(wallet_id_of) LOOP
    -- Calls on different videos, the last of which may end its attempt: the others see no effect of it.
    first := last + 1;
    last := first;
    WHILE video_id_of[last + 1] <> video_id_of[last] AND video_status_is_refunded(status_of[last]) IS NOT TRUE LOOP
      last := last + 1;
    END LOOP;
    RETURN QUERY
    WITH call AS (
      SELECT
        given.wallet_id, given.id, given.status, given.comments::jsonb AS comments, given.render_progress, given.download_url,
        given.attempt, given.actor, given.request_id, first + given.nth::integer - 1 AS place
      FROM
        unnest(
          wallet_id_of[first:last], video_id_of[first:last], status_of[first:last], comments_of[first:last],
          render_progress_of[first:last], download_url_of[first:last], attempt_of[first:last], actor_of[first:last],
          request_id_of[first:last]
        ) WITH ORDINALITY
          AS given (wallet_id, id, status, comments, render_progress, download_url, attempt, actor, request_id, nth)
    ),

    changed AS (
      UPDATE video_data AS present SET
        status = coalesce(call.status, present.status),
        comments = CASE
          WHEN call.status <> present.status THEN call.comments
          WHEN video_status_is_final(present.status) THEN coalesce(present.comments, call.comments)
          WHEN call.status IS NULL THEN coalesce(call.comments, present.comments)
          ELSE present.comments
        END,
        download_url = CASE
          WHEN call.status = present.status AND NOT video_status_is_final(present.status) THEN present.download_url
          ELSE coalesce(call.download_url, present.download_url)
        END,
        render_progress = CASE
          WHEN video_status_is_final(present.status) THEN present.render_progress
          WHEN call.status = 'COMPLETED' THEN 100
          ELSE greatest(present.render_progress, call.render_progress)
        END,
        queue_id = CASE
          WHEN coalesce(call.status, present.status) = present.status THEN present.queue_id
          WHEN call.status = 'RENDER_QUEUED' THEN uuidv7()
        END,
        queued_at = CASE
          WHEN call.status = 'RENDER_QUEUED' AND present.status <> 'RENDER_QUEUED' THEN now() ELSE present.queued_at
        END,
        render_started_at = CASE
          WHEN call.status = 'RENDERING' AND present.status <> 'RENDERING' THEN now() ELSE present.render_started_at
        END,
        event_count = present.event_count + CASE WHEN call.status <> present.status THEN 1 ELSE 0 END,
        version = present.version + 1,
        updated_at = now(),
        request_ids = with_request_id(present.request_ids, call.request_id)
      FROM call
      WHERE
        present.wallet_id = call.wallet_id AND present.id = call.id
        AND call.request_id <> ALL (present.request_ids)
        AND coalesce(call.attempt = present.attempt, TRUE)
        AND CASE
          WHEN call.status <> present.status THEN
            video_status_may_follow(present.status, call.status)
            AND (
              NOT video_status_is_refunded(call.status)
              OR (SELECT credits::bigint + present.cost <= credits_max() FROM wallets WHERE wallet_id = call.wallet_id)
            )
          WHEN video_status_is_final(present.status) THEN
            video_end_contradicts(present.status, present.download_url, call.download_url) IS NOT TRUE
            AND (
              (present.comments IS NULL AND call.comments IS NOT NULL)
              OR (present.download_url IS NULL AND call.download_url IS NOT NULL)
            )
          ELSE
            coalesce(call.render_progress > present.render_progress, FALSE)
            OR (
              call.status IS NULL
              AND (
                (call.comments IS NOT NULL AND call.comments IS DISTINCT FROM present.comments)
                OR (call.download_url IS NOT NULL AND call.download_url IS DISTINCT FROM present.download_url)
              )
            )
        END
      RETURNING
        call.place, call.actor, call.request_id, call.comments AS said, old.status <> new.status AS is_moved,
        present.wallet_id, present.id, present.user_id, present.status, present.attempt, present.cost, present.event_count,
        present AS video
    ),

    event AS (
      INSERT INTO video_events (wallet_id, video_id, number, status, attempt, actor, comments)
      SELECT wallet_id, id, event_count, status, attempt, actor, said
      FROM changed
      WHERE is_moved
    ),

    refunded AS (
      UPDATE wallets AS owner SET
        credits = owner.credits + changed.cost,
        entry_count = owner.entry_count + 1,
        version = owner.version + 1
      FROM changed
      WHERE
        owner.wallet_id = changed.wallet_id AND changed.is_moved AND video_status_is_refunded(changed.status)
        AND owner.credits::bigint + changed.cost <= credits_max()
      RETURNING changed.place, owner.entry_count, owner.credits, owner AS wallet
    ),

    refund AS (
      INSERT INTO credit_entries AS refund (
        wallet_id, number, kind, amount, balance_after, user_id, video_id, attempt, actor, request_id
      )
      SELECT
        changed.wallet_id, refunded.entry_count, 'REFUND', changed.cost, refunded.credits, changed.user_id, changed.id,
        changed.attempt, changed.actor, changed.request_id
      FROM changed INNER JOIN refunded ON changed.place = refunded.place
      RETURNING refund AS entry
    )

    SELECT
      changed.place, CASE WHEN changed.is_moved THEN 'moved' ELSE 'noted' END, coalesce(refunded.wallet, owner), changed.video,
      CASE
        WHEN changed.is_moved OR NOT video_status_is_refunded(changed.status) THEN refund.entry
        ELSE (
          SELECT earlier FROM credit_entries AS earlier
          WHERE
            earlier.wallet_id = changed.wallet_id AND earlier.video_id = changed.id AND earlier.attempt = changed.attempt
            AND earlier.kind = 'REFUND'
        )
      END
    FROM changed
    INNER JOIN wallets AS owner ON changed.wallet_id = owner.wallet_id
    LEFT JOIN refunded ON changed.place = refunded.place
    LEFT JOIN refund ON refunded.place IS NOT NULL
    UNION ALL
    SELECT
      call.place,
      CASE
        WHEN present.id IS NULL THEN 'video_data_not_found'
        WHEN call.request_id = ANY (present.request_ids) THEN CASE WHEN call.status IS NULL THEN 'noted' ELSE 'moved' END
        WHEN call.attempt <> present.attempt THEN 'stale_attempt'
        WHEN call.status <> present.status THEN
          CASE WHEN video_status_may_follow(present.status, call.status) THEN 'credits_out_of_range' ELSE 'illegal_transition' END
        WHEN video_end_contradicts(present.status, present.download_url, call.download_url) THEN 'contradictory'
        ELSE 'unchanged'
      END,
      owner, present, earlier
    FROM call
    LEFT JOIN video_data AS present ON call.wallet_id = present.wallet_id AND call.id = present.id
    LEFT JOIN wallets AS owner ON present.wallet_id = owner.wallet_id
    LEFT JOIN credit_entries AS earlier
      ON
        present.wallet_id = earlier.wallet_id AND present.id = earlier.video_id AND earlier.kind = 'REFUND'
        AND CASE
          WHEN call.request_id = ANY (present.request_ids) THEN earlier.request_id = call.request_id
          ELSE video_status_is_refunded(present.status) AND earlier.attempt = present.attempt
        END
    WHERE call.place <> ALL (ARRAY(SELECT changed.place FROM changed));
  END LOOP;
END
$$;
