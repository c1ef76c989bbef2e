-- Which arm of a campaign somebody was given by hash. Of those of one person the first counts.
-- It outlives the passages, as entries do: she gets the same each time.
CREATE TABLE assignments (
    workspace text NOT NULL,
    profile text NOT NULL,
    campaign text NOT NULL,
    member text NOT NULL DEFAULT '',
    variant text NOT NULL,
    -- Names the salt and the weights it was drawn by.
    split text NOT NULL,
    assign_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, profile, campaign, member)
);
CREATE INDEX assignments_campaign ON assignments (workspace, campaign);
CREATE INDEX assignments_member ON assignments (workspace, member) WHERE member <> '';

-- Goals that passages have reached, once each. They go where the passage goes.
CREATE TABLE conversions (
    workspace text NOT NULL,
    profile text NOT NULL,
    campaign text NOT NULL,
    event_uid uuid NOT NULL,
    goal text NOT NULL,
    convert_time timestamptz NOT NULL,
    value double precision NOT NULL,
    PRIMARY KEY (workspace, profile, campaign, event_uid, goal),
    FOREIGN KEY (workspace, profile, campaign, event_uid)
        REFERENCES enrollments (workspace, profile, campaign, event_uid)
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE INDEX conversions_campaign ON conversions (workspace, campaign);

-- Reports go through the passages of one campaign.
CREATE INDEX enrollments_campaign ON enrollments (workspace, campaign);
