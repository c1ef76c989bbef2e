-- Whom a paused campaign holds, found by campaign. Costs nothing while nobody is held.
CREATE INDEX enrollments_held ON enrollments (workspace, campaign)
    WHERE state = 2 AND wake_time IS NULL;
