-- People, what they did, and what we answered about it. Every table is keyed by the person, or by
-- the place in the log that holds their events, so that all of it can be spread by person.

-- One row a person. No index but the key, and room in each page: counting is a HOT update.
CREATE TABLE profiles (
    workspace text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C" NOT NULL,
    shard smallint NOT NULL,                   -- mesh.ids.shard_of, for ever
    version bigint NOT NULL DEFAULT 1,         -- grows by one with every change; the etag
    first_seen_us bigint NOT NULL DEFAULT 0,   -- microseconds since the epoch; 0: never
    last_seen_us bigint NOT NULL DEFAULT 0,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    email text NOT NULL DEFAULT '',
    phone text NOT NULL DEFAULT '',
    time_zone text NOT NULL DEFAULT '',
    locale text NOT NULL DEFAULT '',
    attributes jsonb NOT NULL DEFAULT '{}',
    counters jsonb NOT NULL DEFAULT '{}',      -- {type: [count, first_us, last_us]}
    PRIMARY KEY (workspace, profile_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);

-- What people did, one partition a week of receipt (see make_week). A week and not a day: an event
-- id is looked for in every partition of its window, at 2 microseconds each (measured).
CREATE TABLE history (
    receive_us bigint NOT NULL,                -- microseconds since the epoch
    occur_us bigint NOT NULL,                  -- by the corrected clock
    fingerprint bigint NOT NULL,               -- of the content, to tell a repeat from a clash
    event_uid uuid NOT NULL,                   -- mesh.ids.event_uid
    log_partition integer NOT NULL,
    log_index integer NOT NULL,                -- in its log record
    workspace text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C" NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    log_position text NOT NULL,
    properties jsonb NOT NULL
) PARTITION BY RANGE (receive_us);
-- Recognises repeats.
CREATE INDEX history_event_uid ON history (event_uid);
-- Lists what one person did.
CREATE INDEX history_person ON history (workspace, profile_id, receive_us);

-- What was answered for a log record, where it could not be told again from the rest. A repeat
-- names the same receive time, so that the key grows at its right end only.
CREATE TABLE answers (
    receive_us bigint NOT NULL,
    log_partition integer NOT NULL,
    log_position text COLLATE "C" NOT NULL,
    create_time timestamptz NOT NULL,
    answer bytea NOT NULL,                     -- ObserveEventsResponse for this record alone
    PRIMARY KEY (receive_us, log_partition, log_position)
);
-- Squeezing costs more than the bytes: an answer lives for a day.
ALTER TABLE answers ALTER COLUMN answer SET STORAGE EXTERNAL;
CREATE INDEX answers_create_time ON answers USING brin (create_time);

-- Makes the partition of one week, from `since_us` to `until_us`, unless it is there. Attached, not
-- created as a partition: that would wait for every reader and writer of the whole history.
CREATE FUNCTION make_week(first_day text, since_us bigint, until_us bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    child text := 'history_' || first_day;
BEGIN
    -- Two makers of one week: the second waits here and then finds it.
    PERFORM pg_advisory_xact_lock(hashtext(current_schema() || '.make_week'));
    IF to_regclass(format('%I.%I', current_schema(), child)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE history INCLUDING ALL)', child);
    EXECUTE format(
        'ALTER TABLE history ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        child, since_us, until_us
    );
END
$$;

-- Says whether PostgreSQL keeps a JSON text; there is JSON that it does not (\u0000, 1e999999).
CREATE FUNCTION is_jsonb(content text) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM content::jsonb;
    RETURN true;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN false;
END
$$;
