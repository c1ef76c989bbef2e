-- Who was forgotten. Receipts name nobody; who it was is kept as a hash for as long as late events
-- are refused.

CREATE TABLE erasures (
    workspace text COLLATE "C" NOT NULL,
    erasure_id uuid NOT NULL,
    create_time timestamptz NOT NULL,
    refuse_until timestamptz NOT NULL,
    complete_time timestamptz,                 -- when the last service had answered
    refused_event_count bigint NOT NULL DEFAULT 0,
    reason text NOT NULL,
    PRIMARY KEY (workspace, erasure_id)
);
CREATE INDEX erasures_create_time ON erasures (workspace, create_time, erasure_id);

-- What each service has removed, as it told first.
CREATE TABLE erasure_removals (
    workspace text COLLATE "C" NOT NULL,
    erasure_id uuid NOT NULL,
    service text COLLATE "C" NOT NULL,
    counts jsonb NOT NULL,                     -- {kind: number}
    remove_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, erasure_id, service)
);

-- One row an id that is refused; gone soon after `refuse_until`.
CREATE TABLE tombstones (
    workspace text COLLATE "C" NOT NULL,
    person_hash bytea NOT NULL,                -- sha256 of workspace/profile_id
    erasure_id uuid NOT NULL,
    refuse_until timestamptz NOT NULL,
    PRIMARY KEY (workspace, person_hash)
);
CREATE INDEX tombstones_refuse_until ON tombstones (refuse_until);
