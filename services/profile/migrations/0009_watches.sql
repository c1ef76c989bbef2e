-- Of what the rest of the mesh wants to hear. The conditions among it are segments whose ids no
-- caller can write: '~' and then the condition's own.
CREATE TABLE watches (
    workspace text COLLATE "C" PRIMARY KEY,
    version bigint NOT NULL,                   -- the watcher's; an older one changes nothing
    attributes text[] NOT NULL
);
INSERT INTO catalogues (kind) VALUES ('watches');
