-- What holds for all campaigns of a workspace; no row: the defaults.
CREATE TABLE settings (
    workspace text PRIMARY KEY,
    time_zone text NOT NULL,
    holdout_percent double precision NOT NULL,
    holdout_salt text NOT NULL,
    revision bigint NOT NULL,
    update_time timestamptz NOT NULL
);
