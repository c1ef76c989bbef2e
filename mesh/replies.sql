-- Remembered answers (mesh.replies). A service that changes state copies this into a migration.
CREATE TABLE replies (
    method text NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    reply bytea,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (method, request_id)
);
CREATE INDEX replies_create_time ON replies USING brin (create_time);
