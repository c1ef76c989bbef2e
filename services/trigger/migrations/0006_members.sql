-- What was begun under an id is found wherever it is kept. Costs nothing for who has one id.
CREATE INDEX enrollments_member ON enrollments (workspace, member) WHERE member <> '';
CREATE INDEX decisions_member ON decisions (workspace, member) WHERE member <> '';
CREATE INDEX entries_member ON entries (workspace, member) WHERE member <> '';
