-- On what people can be pushed to, and who follows whom.

-- Devices of people, one row for each id that had the device. Also of those who have it no more: an
-- app that logs out late, or twice, is told that it did.
CREATE TABLE devices (
    workspace text COLLATE "C" NOT NULL,
    person_id text COLLATE "C" NOT NULL,       -- profiles.profile_id of the person
    device_id uuid NOT NULL,                   -- derived from the token
    member_id text COLLATE "C" NOT NULL,       -- the id that it was registered for
    platform smallint NOT NULL,                -- beckon.profile.v1.Device.Platform
    state smallint NOT NULL,                   -- Device.State; stale ones are active here
    seen_us bigint NOT NULL,                   -- registered last; microseconds since the epoch
    token text NOT NULL,                       -- '': not used any more
    app text NOT NULL,
    locale text NOT NULL,
    reason text NOT NULL,
    create_time timestamptz NOT NULL,
    end_time timestamptz,
    PRIMARY KEY (workspace, person_id, device_id, member_id)
) WITH (fillfactor = 80);
-- Finds those that have not been seen for long, whosoever they are.
CREATE INDEX devices_seen ON devices (seen_us);
-- Finds what was recorded under an id that gave its name up; all else is found by the key.
CREATE INDEX devices_member ON devices (workspace, member_id) WHERE member_id <> person_id;

-- Whose a token is now; none: nobody's.
CREATE TABLE device_owners (
    workspace text COLLATE "C" NOT NULL,
    device_id uuid NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (workspace, device_id)
);

-- How devices changed hands: a row at each side, under one number.
CREATE SEQUENCE device_transfer_ids;
CREATE TABLE device_transfers (
    workspace text COLLATE "C" NOT NULL,
    person_id text COLLATE "C" NOT NULL,
    transfer_id bigint NOT NULL,
    member_id text COLLATE "C" NOT NULL,       -- this side: from_member or to_member
    device_id uuid NOT NULL,
    from_member text COLLATE "C" NOT NULL,     -- '': nobody, or somebody who was erased
    to_member text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    transfer_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, person_id, transfer_id, member_id)
);
CREATE INDEX device_transfers_member ON device_transfers (workspace, member_id)
    WHERE member_id <> person_id;
-- Finds the other side of a transfer, when one side is erased; by hash, so that nobody lists by it.
CREATE INDEX device_transfers_both ON device_transfers USING hash (transfer_id);

-- Edges, under the ids that were used, like the history: uniting two people of whom one has a
-- million followers then moves nothing. Read with `= ANY` over the ids of a person.
CREATE TABLE relations (
    workspace text COLLATE "C" NOT NULL,
    from_member text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    to_member text COLLATE "C" NOT NULL,
    attributes jsonb NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, from_member, kind, to_member)
);

-- The same edges by their other end. Whoever writes an edge writes it here second, so that two
-- writers of one edge wait for each other at the first.
CREATE TABLE relations_in (
    workspace text COLLATE "C" NOT NULL,
    to_member text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    from_member text COLLATE "C" NOT NULL,
    attributes jsonb NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, to_member, kind, from_member)
);
