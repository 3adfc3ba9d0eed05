-- The ids of requests, so that a statement that is run again after its reply was lost recognizes what it did the first time
-- (docs/decisions/0016-request-ids.md). Code of before this migration goes on working: the new columns have defaults or may be null.

-- All at once, so that nothing is looked through while one is still waited for.
LOCK TABLE users, video_data, credit_entries;

-- Random numbers of 63 bits, half the size of UUIDs: an id is compared with those of one row or one key, never with all.
ALTER TABLE credit_entries ADD COLUMN request_id bigint; -- of the request that wrote the entry; null: written before there were ids

ALTER TABLE users
ADD COLUMN request_id bigint, -- of the request that registered the user; null: registered before there were ids
ADD COLUMN request_ids bigint[] NOT NULL DEFAULT '{}'; -- of the registration and the newest changes of the profile, oldest first

ALTER TABLE video_data ADD COLUMN request_ids bigint[] NOT NULL DEFAULT '{}'; -- of the newest changes of the video, oldest first

-- A list of request ids with one more. It keeps 16: those of the 8 calls that a batch can hold for one row (ROW_CALLS_MAX), which all find
-- themselves when its reply is lost, although others change the row before they are run again.
CREATE FUNCTION with_request_id(request_ids bigint[], request_id bigint) RETURNS bigint[]
IMMUTABLE LANGUAGE sql
RETURN (request_ids || request_id)[greatest(cardinality(request_ids) - 14, 1):];
