-- What people agreed to, and how much is too much. Consent is keyed by the person, so that it can
-- be spread by person.

-- What a person said about a channel; no row: nothing yet.
CREATE TABLE subscriptions (
    workspace text COLLATE "C" NOT NULL,
    profile_id text COLLATE "C" NOT NULL,
    channel smallint NOT NULL,              -- beckon.type.v1.Channel
    state smallint NOT NULL,                -- beckon.throttle.v1.Subscription.State
    update_time timestamptz NOT NULL,
    CONSTRAINT subscriptions_pkey PRIMARY KEY (workspace, profile_id, channel)
);

-- At most twenty a workspace.
CREATE TABLE frequency_caps (
    workspace text COLLATE "C" NOT NULL,
    cap_id text COLLATE "C" NOT NULL,
    channel smallint,                       -- null: all that reach a person
    count_limit integer NOT NULL CHECK (count_limit BETWEEN 1 AND 1000),
    calendar text CHECK (calendar IN ('day', 'week')),
    rolling interval,
    on_breach text NOT NULL CHECK (on_breach IN ('suppress', 'defer')),
    version bigint NOT NULL,                -- grows by one with every change; the etag
    update_time timestamptz NOT NULL,
    PRIMARY KEY (workspace, cap_id),
    CHECK ((calendar IS NULL) <> (rolling IS NULL))
);

-- Whoever holds caps in memory hears of a change when it commits.
CREATE FUNCTION tell_caps_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('throttle_caps_changed', coalesce(NEW.workspace, OLD.workspace));
    RETURN NULL;
END
$$;
CREATE TRIGGER caps_changed AFTER INSERT OR UPDATE OR DELETE ON frequency_caps
    FOR EACH ROW EXECUTE FUNCTION tell_caps_changed();
