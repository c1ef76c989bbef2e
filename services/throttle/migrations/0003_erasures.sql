-- What was removed for an erasure: a repeat after a lost answer counts the same. Names nobody.
CREATE TABLE erasures (
    erasure text COLLATE "C" PRIMARY KEY,   -- the name of profile's receipt
    subscriptions bigint NOT NULL,
    sends bigint NOT NULL,
    create_time timestamptz NOT NULL
);
