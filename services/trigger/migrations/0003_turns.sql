-- Counts the commits that judged people of the partition: those that move its position, and
-- replays, which do not. Who judged by what was known before another such commit judges again.
ALTER TABLE log_positions ADD COLUMN turn bigint NOT NULL DEFAULT 0;
