-- What a mutation's function (db/functions) answers with when a quota refuses: how much of it is used, and when it resets (null: never).
CREATE TYPE quota AS (used bigint, resets_at timestamptz);
