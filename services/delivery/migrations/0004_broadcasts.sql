-- To which broadcast it belongs; null: to none.
ALTER TABLE deliveries ADD COLUMN broadcast uuid;
CREATE INDEX deliveries_broadcast ON deliveries (broadcast) WHERE broadcast IS NOT NULL;
