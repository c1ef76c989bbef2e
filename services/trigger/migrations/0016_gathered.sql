-- To which broadcast an event belongs that was gathered: its recipient is of the audience.
ALTER TABLE digest_items ADD COLUMN broadcast uuid;
CREATE INDEX digest_items_broadcast ON digest_items (broadcast) WHERE broadcast IS NOT NULL;
