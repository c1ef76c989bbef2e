-- What is of one campaign is found by a name of its own. By two of the key's columns PostgreSQL went
-- for single passages too, through all of their campaign, as long as nothing was known of the
-- table's size: in the first minute of whatever grows fast.
DROP INDEX enrollments_campaign;
CREATE INDEX enrollments_campaign ON enrollments ((workspace || '/' || campaign));
DROP INDEX assignments_campaign;
CREATE INDEX assignments_campaign ON assignments ((workspace || '/' || campaign));
DROP INDEX conversions_campaign;
CREATE INDEX conversions_campaign ON conversions ((workspace || '/' || campaign));
