-- The queue and the record of what became of it, in one table: a repeat of a create meets the
-- primary key in whatever state the delivery is. Every statement on the path finds its rows by
-- delivery id, which is a hash: the table can be spread by it.
CREATE TABLE deliveries (
    delivery_id uuid PRIMARY KEY,
    workspace text NOT NULL,
    profile text NOT NULL,
    -- Empty: cancelled before it was created; the create fills it in.
    campaign text NOT NULL,
    template text NOT NULL,
    channel smallint NOT NULL,
    state smallint NOT NULL,
    -- When a worker may take it: next attempt while pending, end of the lease while sending.
    -- NULL once finished, so that the queue's index holds the queue only.
    due_time timestamptz,
    -- Counts claims; settling names the one it settles.
    fence integer NOT NULL DEFAULT 0,
    -- A provider has it or may have it.
    handed_over boolean NOT NULL DEFAULT false,
    attempt_count integer NOT NULL DEFAULT 0,
    -- How often it was redriven; part of its receipts' ids.
    round integer NOT NULL DEFAULT 0,
    error text NOT NULL DEFAULT '',
    provider_message_id text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    send_time timestamptz,
    expire_time timestamptz NOT NULL,
    trace_id bytea,
    parent_span_id bytea,
    sampled boolean NOT NULL DEFAULT false,
    -- What it is rendered with; dropped when it can never be needed again.
    data bytea
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- Rendering data is JSON of a few hundred bytes: compressing it costs more than it saves.
ALTER TABLE deliveries ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE INDEX deliveries_due ON deliveries (channel, due_time) WHERE due_time IS NOT NULL;
CREATE INDEX deliveries_by_time ON deliveries (workspace, create_time, delivery_id);
CREATE INDEX deliveries_by_profile ON deliveries (workspace, profile);
-- Rows come in order of time: a few pages tell retention where the old ones are.
CREATE INDEX deliveries_age ON deliveries USING brin (create_time) WITH (autosummarize = on);

CREATE TABLE templates (
    workspace text NOT NULL,
    template text NOT NULL,
    -- The proto, serialized, without name, etag and time.
    content bytea NOT NULL,
    etag text NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, template)
);

-- What throttle and ingest have yet to hear. A row is a batch for one of them: columns of arrays,
-- because a row for each delivery would cost as much as the delivery.
CREATE TABLE outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    peer smallint NOT NULL,
    -- When a relay may take it.
    due_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL,
    delivery_ids uuid[] NOT NULL,
    rounds integer[] NOT NULL,
    states smallint[] NOT NULL,
    channels smallint[] NOT NULL,
    workspaces text[] NOT NULL,
    profiles text[] NOT NULL,
    campaigns text[] NOT NULL
);

CREATE INDEX outbox_due ON outbox (due_time);
