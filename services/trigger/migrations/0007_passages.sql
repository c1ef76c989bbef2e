-- Which variant was assigned; '' where the campaign has none.
ALTER TABLE enrollments ADD COLUMN variant text NOT NULL DEFAULT '';
-- Value of the event's property by which re-entry is asked apart; also of entries.
ALTER TABLE enrollments ADD COLUMN reentry_key text NOT NULL DEFAULT '';
ALTER TABLE entries ADD COLUMN reentry_key text NOT NULL DEFAULT '';
ALTER TABLE entries DROP CONSTRAINT entries_pkey;
ALTER TABLE entries ADD PRIMARY KEY (workspace, profile, campaign, member, reentry_key);
-- Not null: the passage of a digest's window; the value of its key, '' where it has none.
ALTER TABLE enrollments ADD COLUMN digest_key text;
-- To which broadcast it belongs; also of refusals.
ALTER TABLE enrollments ADD COLUMN broadcast uuid;
ALTER TABLE decisions ADD COLUMN broadcast uuid;
CREATE INDEX enrollments_broadcast ON enrollments (broadcast) WHERE broadcast IS NOT NULL;
CREATE INDEX decisions_broadcast ON decisions (broadcast) WHERE broadcast IS NOT NULL;
-- By which zone local times were reckoned.
ALTER TABLE enrollments ADD COLUMN time_zone text NOT NULL DEFAULT '';
-- When the campaign's rate lets it go. Null: not asked yet, or there is no rate.
ALTER TABLE enrollments ADD COLUMN slot_time timestamptz;
