-- One person, many ids. The profile that gives a person its name holds the union; what was recorded
-- under each id is kept apart, so that a merge can be taken back exactly.

ALTER TABLE profiles
    -- The profile that this id is read as; '': this row is a person.
    ADD COLUMN merged_into text COLLATE "C" NOT NULL DEFAULT '',
    -- All ids of the person, its own among them; empty: only its own.
    ADD COLUMN member_ids text[] COLLATE "C" NOT NULL DEFAULT '{}',
    -- {key: microseconds}: when each attribute or address was written last, also when it was unset.
    ADD COLUMN attribute_times jsonb NOT NULL DEFAULT '{}',
    -- {trait: number}: as of the last event or due time.
    ADD COLUMN traits jsonb NOT NULL DEFAULT '{}';

-- What was recorded under one id of a person with several; none for a person with one.
CREATE TABLE contributions (
    workspace text COLLATE "C" NOT NULL,
    person_id text COLLATE "C" NOT NULL,       -- profiles.profile_id of the union
    member_id text COLLATE "C" NOT NULL,
    first_seen_us bigint NOT NULL,
    last_seen_us bigint NOT NULL,
    create_time timestamptz NOT NULL,
    email text NOT NULL,
    phone text NOT NULL,
    time_zone text NOT NULL,
    locale text NOT NULL,
    attributes jsonb NOT NULL,
    attribute_times jsonb NOT NULL,
    counters jsonb NOT NULL,
    PRIMARY KEY (workspace, person_id, member_id)
);

-- Edges between ids; only ever added, and marked when taken back. They go with the person that
-- `into_id` is of.
CREATE TABLE merges (
    workspace text COLLATE "C" NOT NULL,
    person_id text COLLATE "C" NOT NULL,
    merge_id uuid NOT NULL,
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    from_id text COLLATE "C" NOT NULL,
    into_id text COLLATE "C" NOT NULL,
    state smallint NOT NULL,                   -- beckon.profile.v1.Merge.State
    origin smallint NOT NULL,                  -- beckon.profile.v1.Merge.Origin
    reason text NOT NULL,
    create_time timestamptz NOT NULL,
    undo_time timestamptz,
    PRIMARY KEY (workspace, person_id, merge_id)
);
CREATE INDEX merges_id ON merges (workspace, merge_id);
-- What was refused or undone between an id and somebody else.
CREATE INDEX merges_from ON merges (workspace, from_id);
CREATE INDEX merges_into ON merges (workspace, into_id);

-- The type of each attribute; set by the first write, never changed.
CREATE TABLE attributes (
    workspace text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    type smallint NOT NULL,                    -- beckon.profile.v1.Attribute.Type
    create_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, key)
);

-- Counts changes of what every turn needs to know; read at its start.
CREATE TABLE catalogues (
    kind text PRIMARY KEY,
    version bigint NOT NULL DEFAULT 0
);
INSERT INTO catalogues (kind) VALUES ('traits'), ('segments'), ('erasures');

-- Events that profile owes to the log: who was united, who went into a segment.
CREATE TABLE derived_events (
    derived_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    workspace text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C" NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    occur_us bigint NOT NULL,
    properties jsonb NOT NULL
);

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
