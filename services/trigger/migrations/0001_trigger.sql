-- Campaigns, as they are written; the worker holds them compiled.
CREATE TABLE campaigns (
    workspace text NOT NULL,
    campaign text NOT NULL,
    state text NOT NULL,
    -- A serialized beckon.trigger.v1.Campaign, without what the columns say.
    spec bytea NOT NULL,
    version bigint NOT NULL,
    revision bigint NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    launch_time timestamptz,
    PRIMARY KEY (workspace, campaign)
);

-- One row: counts changes of campaigns. Every commit of a turn compares it, so
-- that nothing is judged with campaigns that have changed.
CREATE TABLE catalogue (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);
INSERT INTO catalogue (version) VALUES (1);

-- Remembered answers (mesh.replies).
CREATE TABLE replies (
    method text NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    reply bytea,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (method, request_id)
);
CREATE INDEX replies_create_time ON replies USING brin (create_time);

-- How far each partition of the log is judged. The lease saves work; what makes
-- it safe is that a turn moves the position only from where it read on.
CREATE TABLE log_positions (
    partition integer PRIMARY KEY,
    position text NOT NULL DEFAULT '',
    owner text,
    lease_until timestamptz
) WITH (fillfactor = 50);

CREATE TABLE workers (
    worker text PRIMARY KEY,
    lease_until timestamptz NOT NULL
);

-- Passages through campaigns: timers while they wait, sends owed while they
-- send, and the record of the decision ever after.
CREATE TABLE enrollments (
    workspace text NOT NULL,
    profile text NOT NULL,
    campaign text NOT NULL,
    event_uid uuid NOT NULL,
    shard smallint NOT NULL,
    -- 2 waiting, 3 sending, 4 sent, 5 exited, 6 cancelling.
    state smallint NOT NULL,
    revision integer NOT NULL,
    event_id text NOT NULL,
    event_type text NOT NULL,
    actor text NOT NULL,
    occur_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL,
    properties bytea NOT NULL,
    trace_id bytea NOT NULL,
    parent_span_id bytea,
    sampled boolean NOT NULL,
    entry_time timestamptz NOT NULL,
    due_time timestamptz NOT NULL,
    -- Null while the campaign is paused.
    wake_time timestamptz,
    expire_time timestamptz NOT NULL,
    decide_time timestamptz NOT NULL,
    release_time timestamptz,
    -- Until when a worker relays it; any worker may from then on.
    lease_until timestamptz,
    campaign_version bigint NOT NULL,
    channel smallint NOT NULL,
    template text NOT NULL,
    critical boolean NOT NULL,
    gates bytea NOT NULL,
    PRIMARY KEY (workspace, profile, campaign, event_uid)
);
CREATE INDEX enrollments_waiting ON enrollments (wake_time) WHERE state = 2;
CREATE INDEX enrollments_owed ON enrollments (lease_until) WHERE state IN (3, 6);
CREATE INDEX enrollments_decide_time ON enrollments USING brin (decide_time);

-- Entries of passages that are no longer kept: re-entry looks back further.
CREATE TABLE entries (
    workspace text NOT NULL,
    profile text NOT NULL,
    campaign text NOT NULL,
    entry_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, profile, campaign)
);

-- Refusals: trigger events that began nothing.
CREATE TABLE decisions (
    workspace text NOT NULL,
    profile text NOT NULL,
    campaign text NOT NULL,
    event_uid uuid NOT NULL,
    event_id text NOT NULL,
    decide_time timestamptz NOT NULL,
    campaign_version bigint NOT NULL,
    trace_id bytea NOT NULL,
    gates bytea NOT NULL
);
CREATE INDEX decisions_profile ON decisions (workspace, profile, decide_time);
CREATE INDEX decisions_decide_time ON decisions USING brin (decide_time);

-- What could not be observed or judged.
CREATE TABLE quarantine (
    id uuid PRIMARY KEY,
    workspace text NOT NULL,
    profile text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    error bytea NOT NULL,
    payload bytea NOT NULL,
    observed boolean NOT NULL,
    partition integer NOT NULL,
    create_time timestamptz NOT NULL,
    replay_time timestamptz
);
CREATE INDEX quarantine_workspace ON quarantine (workspace, create_time, id);
CREATE INDEX quarantine_replay ON quarantine (partition) WHERE replay_time IS NOT NULL;
