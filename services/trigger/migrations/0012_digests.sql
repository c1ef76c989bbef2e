-- What windows gathered. One event is in at most one window of a recipient and campaign, for as long
-- as the window is on record. Where the window's passage goes, by whatever way, they go with it.
CREATE TABLE digest_items (
    workspace text NOT NULL,
    profile text NOT NULL,
    campaign text NOT NULL,
    event_uid uuid NOT NULL,
    -- The event of the passage whose window it is.
    window_uid uuid NOT NULL,
    -- The id it was for, '' when its recipient goes by that.
    member text NOT NULL DEFAULT '',
    event_id text NOT NULL,
    event_type text NOT NULL,
    event_profile text NOT NULL,
    occur_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL,
    properties bytea NOT NULL,
    trace_id bytea NOT NULL,
    -- Who acted, and on what.
    actor text NOT NULL,
    object text NOT NULL,
    -- What took it out again; '': nothing did.
    removed text NOT NULL DEFAULT '',
    remove_time timestamptz,
    PRIMARY KEY (workspace, profile, campaign, event_uid),
    FOREIGN KEY (workspace, profile, campaign, window_uid)
        REFERENCES enrollments (workspace, profile, campaign, event_uid)
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE INDEX digest_items_window
    ON digest_items (workspace, profile, campaign, window_uid, occur_time);
-- Found by who did it: erased, it leaves the digests of others.
CREATE INDEX digest_items_actor ON digest_items (workspace, actor);
CREATE INDEX digest_items_event_profile ON digest_items (workspace, event_profile);

-- What takes back what occurred before it, also what comes later.
CREATE TABLE digest_undos (
    workspace text NOT NULL,
    profile text NOT NULL,
    campaign text NOT NULL,
    occur_time timestamptz NOT NULL,
    event_uid uuid NOT NULL,
    member text NOT NULL DEFAULT '',
    event_id text NOT NULL,
    event_type text NOT NULL,
    event_profile text NOT NULL,
    receive_time timestamptz NOT NULL,
    properties bytea NOT NULL,
    actor text NOT NULL,
    object text NOT NULL,
    PRIMARY KEY (workspace, profile, campaign, occur_time, event_uid)
);
CREATE INDEX digest_undos_actor ON digest_undos (workspace, actor);
CREATE INDEX digest_undos_event_profile ON digest_undos (workspace, event_profile);
CREATE INDEX digest_undos_receive_time ON digest_undos USING brin (receive_time);
