-- What each outlet was told or is to be told, for all replicas. Milliseconds since 1970 are by the
-- clock of the replica that wrote them and are for people; next_try_at, by which the work is
-- shared out, is by this server's.
CREATE TABLE alert_deliveries (
    id           text        NOT NULL COLLATE "C",
    outlet       text        NOT NULL COLLATE "C",
    kind         text        NOT NULL,
    -- JSON, as docs/alerts-payload.schema.json has it.
    notice       text        NOT NULL,
    ends         bigint      NOT NULL,
    claimed_at   bigint      NOT NULL,
    attempts     bigint      NOT NULL DEFAULT 0,
    -- Null once it is done; while a replica delivers, the end of its hold.
    next_try_at  timestamptz,
    delivered_at bigint,
    failed_at    bigint,
    last_error   text,
    PRIMARY KEY (id, outlet)
);
CREATE INDEX alert_deliveries_due ON alert_deliveries (next_try_at) WHERE next_try_at IS NOT NULL;
