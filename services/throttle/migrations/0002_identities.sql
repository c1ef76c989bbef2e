-- Which ids are one person. An id without a row is a person of its own.
CREATE TABLE identities (
    workspace text COLLATE "C" NOT NULL,
    member_id text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C" NOT NULL,   -- the id whose counted sends are the person's
    previous_id text COLLATE "C" NOT NULL,  -- before this version: where sends are copied from
    version bigint NOT NULL,                -- the greatest that was heard of
    PRIMARY KEY (workspace, member_id)
);
CREATE INDEX identities_profile ON identities (workspace, profile_id);
