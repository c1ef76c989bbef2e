-- Of a million all but a few have been sent: who is still to be is looked for every second.
CREATE INDEX enrollments_broadcast_open ON enrollments (broadcast)
    WHERE broadcast IS NOT NULL AND state IN (2, 3, 6);
-- Erased people are looked for under every id.
CREATE INDEX broadcasts_member ON broadcasts (workspace, member)
    WHERE NOT planned AND member <> '';
-- Lists of a whole workspace.
CREATE INDEX broadcasts_workspace ON broadcasts (workspace, start_time, broadcast);
-- Those that ended long ago are deleted.
CREATE INDEX broadcasts_end_time ON broadcasts USING brin (end_time);
