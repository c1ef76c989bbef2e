-- What campaigns were. The newest is what the campaign is.
CREATE TABLE campaign_versions (
    workspace text NOT NULL,
    campaign text NOT NULL,
    version bigint NOT NULL,
    -- As of campaigns.
    spec bytea NOT NULL,
    create_time timestamptz NOT NULL,
    -- What became of those on their way: migrate, finish, exit.
    in_flight text NOT NULL,
    -- The name of the caller's key.
    caller text NOT NULL,
    -- Whether somebody may still go by it; of those that nobody does, workers hold nothing.
    in_use boolean NOT NULL DEFAULT true,
    PRIMARY KEY (workspace, campaign, version)
);
INSERT INTO campaign_versions (workspace, campaign, version, spec, create_time, in_flight, caller)
SELECT workspace, campaign, version, spec, update_time, 'migrate', '' FROM campaigns;

-- The latest version to which all went over who were on their way,
ALTER TABLE campaigns ADD COLUMN migrate_version bigint NOT NULL DEFAULT 1;
UPDATE campaigns SET migrate_version = version;
-- and the latest that sent them out; 0: none did.
ALTER TABLE campaigns ADD COLUMN exit_version bigint NOT NULL DEFAULT 0;

-- When campaigns were moved from state to state: why nothing began at a time.
CREATE TABLE campaign_moves (
    workspace text NOT NULL,
    campaign text NOT NULL,
    time timestamptz NOT NULL,
    state text NOT NULL,
    caller text NOT NULL
);
INSERT INTO campaign_moves (workspace, campaign, time, state, caller)
SELECT workspace, campaign, launch_time, 'active', '' FROM campaigns WHERE launch_time IS NOT NULL
UNION ALL
SELECT workspace, campaign, update_time, state, '' FROM campaigns
WHERE state IN ('paused', 'archived');
CREATE INDEX campaign_moves_campaign ON campaign_moves (workspace, campaign, time);
