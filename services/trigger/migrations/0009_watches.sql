-- What profile was last told to watch, by workspace.
CREATE TABLE watches (
    workspace text COLLATE "C" PRIMARY KEY,
    digest text NOT NULL
);
-- Campaigns planned by a date of the person's own, for which all who have the date are being gone
-- through: one for each launch, gone when it is done.
CREATE TABLE backfills (
    workspace text COLLATE "C" NOT NULL,
    campaign text COLLATE "C" NOT NULL,
    attribute text NOT NULL,
    revision bigint NOT NULL,                  -- of the campaign: what began it
    begin_time timestamptz NOT NULL,           -- not before
    cursor text NOT NULL DEFAULT '',           -- profile's: all before it are planned
    count bigint NOT NULL DEFAULT 0,           -- how many have been gone through
    lease_until timestamptz NOT NULL,
    error text NOT NULL DEFAULT '',
    PRIMARY KEY (workspace, campaign)
);
