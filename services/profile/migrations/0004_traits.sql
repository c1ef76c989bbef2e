-- Traits: numbers reckoned from a person's events.

CREATE TABLE traits (
    workspace text COLLATE "C" NOT NULL,
    trait_id text COLLATE "C" NOT NULL,
    event_type text NOT NULL,
    aggregate smallint NOT NULL,               -- beckon.profile.v1.Trait.Aggregate
    property text NOT NULL,
    filter text NOT NULL,
    rolling_us bigint NOT NULL,                -- 0: no rolling window
    calendar smallint NOT NULL,                -- beckon.profile.v1.Trait.Calendar; 0: none
    compare boolean NOT NULL,
    backfill boolean NOT NULL,
    state smallint NOT NULL,                   -- 1 backfilling, 2 active, 3 removing
    create_time timestamptz NOT NULL,
    -- A walk over all profiles, to fill or to remove. It begins when no transaction is left that
    -- may not have seen the change: those begun before somebody else saw it committed.
    seen_time timestamptz,
    walked_to text COLLATE "C" NOT NULL DEFAULT '',
    walked_count bigint NOT NULL DEFAULT 0,
    walk_count bigint NOT NULL DEFAULT 0,      -- how many there were when it began
    PRIMARY KEY (workspace, trait_id)
);
CREATE INDEX traits_walking ON traits (create_time) WHERE state <> 2;

-- What the events of one id come to for one trait. Rewritten in place: no index holds the state.
CREATE TABLE trait_states (
    workspace text COLLATE "C" NOT NULL,
    person_id text COLLATE "C" NOT NULL,       -- profiles.profile_id of the person
    trait_id text COLLATE "C" NOT NULL,
    member_id text COLLATE "C" NOT NULL,       -- the id that was used, for ever
    state bytea NOT NULL,                      -- convert.traits
    PRIMARY KEY (workspace, person_id, trait_id, member_id)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05);
-- Squeezing costs more than the bytes: a state is rewritten with every event.
ALTER TABLE trait_states ALTER COLUMN state SET STORAGE EXTERNAL;
CREATE INDEX trait_states_member ON trait_states (workspace, member_id);

-- When a person's traits must be looked at again, because time alone may change one.
CREATE TABLE trait_dues (
    workspace text COLLATE "C" NOT NULL,
    person_id text COLLATE "C" NOT NULL,
    due_us bigint NOT NULL,
    PRIMARY KEY (workspace, person_id)
);
CREATE INDEX trait_dues_due ON trait_dues (due_us);
