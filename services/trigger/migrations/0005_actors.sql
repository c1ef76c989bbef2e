-- Passages of others, found by who did what began them: they hold what the event says of her.
CREATE INDEX enrollments_actor ON enrollments (workspace, actor)
    WHERE actor <> profile AND actor <> member;
