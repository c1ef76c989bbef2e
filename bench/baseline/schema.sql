-- What the baseline remembers. Safe to run again.

CREATE TABLE IF NOT EXISTS events (
    id text PRIMARY KEY,
    profile text NOT NULL,
    type text NOT NULL,
    occur_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL DEFAULT now(),
    properties jsonb NOT NULL
);

-- History is asked for by person; the mesh keeps the same index.
CREATE INDEX IF NOT EXISTS events_by_profile ON events (profile, occur_time);

CREATE TABLE IF NOT EXISTS profiles (
    id text PRIMARY KEY,
    attributes jsonb NOT NULL DEFAULT '{}',
    last_seen_time timestamptz NOT NULL
);

-- A row a person and type, not a jsonb document: a counter is then added to in place, without a read.
CREATE TABLE IF NOT EXISTS counters (
    profile text NOT NULL,
    type text NOT NULL,
    count bigint NOT NULL,
    first_time timestamptz NOT NULL,
    last_time timestamptz NOT NULL,
    PRIMARY KEY (profile, type)
) WITH (fillfactor = 80);

-- Written in the transaction that accepts the event, so a task lost on its way can be enqueued again from here.
CREATE TABLE IF NOT EXISTS messages (
    id uuid PRIMARY KEY,
    event_id text NOT NULL,
    profile text NOT NULL,
    state text NOT NULL DEFAULT 'pending',
    create_time timestamptz NOT NULL DEFAULT now(),
    send_time timestamptz
) WITH (fillfactor = 80);

CREATE INDEX IF NOT EXISTS messages_pending ON messages (create_time) WHERE state = 'pending';
