-- Who was forgotten of late, as hashes: what was on its way here meanwhile is dropped.
CREATE TABLE tombstones (
    person_hash bytea PRIMARY KEY,             -- sha256 of workspace/profile
    create_time timestamptz NOT NULL
);
