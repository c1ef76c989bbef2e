-- What goes out to many: one row for each time of a schedule, and for each event that is told to
-- all who are related to somebody.
CREATE TABLE broadcasts (
    broadcast uuid PRIMARY KEY,
    workspace text NOT NULL,
    campaign text NOT NULL,
    -- 1 planned, 2 running, 3 done, 4 cancelled.
    state smallint NOT NULL,
    -- Of a schedule, not of an event.
    planned boolean NOT NULL,
    start_time timestamptz NOT NULL,
    end_time timestamptz,
    -- When a worker may look at it, next or if the one that has it falls silent.
    look_time timestamptz NOT NULL,
    -- A serialized beckon.profile.v1.StreamAudienceRequest; empty until it has begun.
    audience bytea NOT NULL DEFAULT '',
    -- How far the audience was gone through; it moves with the passages it has begun.
    cursor text NOT NULL DEFAULT '',
    -- All of the audience was gone through.
    counted boolean NOT NULL DEFAULT false,
    -- Why it does not get on.
    error text NOT NULL DEFAULT '',
    -- A serialized Broadcast.Account: what it came to, once it has ended.
    account bytea,
    event_uid uuid NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    actor text NOT NULL,
    member text NOT NULL,
    occur_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL,
    properties bytea NOT NULL,
    trace_id bytea NOT NULL,
    parent_span_id bytea,
    sampled boolean NOT NULL
);
CREATE INDEX broadcasts_open ON broadcasts (look_time) WHERE end_time IS NULL;
CREATE INDEX broadcasts_campaign ON broadcasts (workspace, campaign, start_time);
CREATE INDEX broadcasts_actor ON broadcasts (workspace, actor) WHERE NOT planned;

-- When the next message of a campaign may be released that has a rate.
CREATE TABLE rates (
    workspace text NOT NULL,
    campaign text NOT NULL,
    next_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, campaign)
);

-- What callers asked for by id, so that another content under the same id is refused.
CREATE TABLE requests (
    workspace text NOT NULL,
    event_id text NOT NULL,
    fingerprint bytea NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, event_id)
);
CREATE INDEX requests_create_time ON requests USING brin (create_time);
