-- What was removed for an erasure: a repeat after a lost answer counts the same. Names nobody.
CREATE TABLE erasures (
    erasure text PRIMARY KEY,                  -- the name of profile's receipt
    deliveries bigint NOT NULL,
    receipts bigint NOT NULL,
    create_time timestamptz NOT NULL
);
