-- Finds how devices changed hands so long ago that it is let go of, with the history of that time.
-- Rows come in the order of time and stay where they are.
CREATE INDEX device_transfers_time ON device_transfers USING brin (transfer_time);
