-- Places on earth, as they are written; the worker holds those that campaigns name, indexed.
CREATE TABLE regions (
    workspace text NOT NULL,
    region text NOT NULL,
    -- What it is known by to who is inside: never used again, unlike its id.
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY UNIQUE,
    -- A serialized beckon.trigger.v1.Region, without what the columns say.
    spec bytea NOT NULL,
    revision bigint NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, region)
);

-- Where people were by their latest report; of people of whom there is one.
CREATE TABLE presences (
    workspace text NOT NULL,
    profile text NOT NULL,
    -- Under which id of the person the report came, '' when under the same.
    member text NOT NULL DEFAULT '',
    report_time timestamptz NOT NULL,
    -- Number of each region → since when.
    inside jsonb NOT NULL,
    revision bigint NOT NULL,
    PRIMARY KEY (workspace, profile)
) WITH (fillfactor = 80);
CREATE INDEX presences_member ON presences (workspace, member) WHERE member <> '';
CREATE INDEX presences_report_time ON presences USING brin (report_time);

-- Waits whether she stays in a region: until then it is no entry that re-entry looks at.
ALTER TABLE enrollments ADD COLUMN dwelling boolean NOT NULL DEFAULT false;
