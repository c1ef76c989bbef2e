-- Passages, entries and refusals are keyed by the person; `member` is the id they were begun under,
-- '' when it is the same. It never changes: sends are named after it, and it says what goes back
-- when people are parted.
ALTER TABLE enrollments ADD COLUMN member text NOT NULL DEFAULT '';
ALTER TABLE decisions ADD COLUMN member text NOT NULL DEFAULT '';
ALTER TABLE entries ADD COLUMN member text NOT NULL DEFAULT '';
ALTER TABLE entries DROP CONSTRAINT entries_pkey;
ALTER TABLE entries ADD PRIMARY KEY (workspace, profile, campaign, member);

-- Under which id a person goes, as far as passages follow it. None: under the one given.
CREATE TABLE identities (
    workspace text NOT NULL,
    member text NOT NULL,
    profile text NOT NULL,
    -- The greatest heard of; 0: known from how the person stood, before the log told.
    version bigint NOT NULL,
    PRIMARY KEY (workspace, member)
);

-- What other services are to hear, until they have answered.
CREATE TABLE notices (
    notice uuid PRIMARY KEY,
    kind text NOT NULL,
    -- JSON.
    payload bytea NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    due_time timestamptz NOT NULL
);
CREATE INDEX notices_due_time ON notices (due_time);
