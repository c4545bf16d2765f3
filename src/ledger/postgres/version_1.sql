CREATE TABLE "schema" (
    version            bigint      PRIMARY KEY,
    applied_at         timestamptz NOT NULL,
    program            text        NOT NULL,
    min_program_schema bigint      NOT NULL
);

CREATE TABLE entries (
    call_id                text    NOT NULL COLLATE "C",
    opened_at              bigint  NOT NULL,
    settled_at             bigint  NOT NULL,
    tenant                 text    NOT NULL,
    application            text    NOT NULL,
    "user"                 text,
    session                text,
    operation              text    NOT NULL,
    model_asked            text,
    model                  text,
    base_model             text,
    geography              text,
    region                 text    NOT NULL,
    tier_asked             text,
    tier_served            text,
    latency_served         text,
    invoked_model          text,
    outcome                text    NOT NULL,
    status                 bigint,
    error_class            text,
    aws_request_id         text,
    sdk_invocation_id      text,
    sdk_attempt            bigint,
    request_bytes          bigint  NOT NULL,
    response_bytes         bigint  NOT NULL,
    first_byte_ms          bigint,
    duration_ms            bigint  NOT NULL,
    usage_source           text    NOT NULL,
    usage_reason           text,
    read_from              text    NOT NULL,
    disagreement           boolean NOT NULL,
    input_tokens           bigint,
    output_tokens          bigint,
    cache_read_tokens      bigint,
    cache_write_5m_tokens  bigint,
    cache_write_30m_tokens bigint,
    cache_write_1h_tokens  bigint,
    units                  text,
    price_status           text    NOT NULL,
    price_reason           text,
    cost_microusd          bigint,
    cost_femtousd          bigint,
    lines                  text,
    catalogue              text    NOT NULL,
    key_id                 text,
    reserved_microusd      bigint,
    downgraded_from        text,
    -- The transaction that wrote the row: what follows the table reads on from it.
    tx                     bigint  NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
    -- A partitioned table needs its key in here. A call has one opened_at, which its id goes with.
    PRIMARY KEY (call_id, opened_at)
) PARTITION BY RANGE (opened_at);

CREATE INDEX entries_opened_at ON entries (opened_at);
CREATE INDEX entries_tx ON entries (tx, call_id);

-- What no month takes: a clock that was far off, or a month whose partition could not be made.
CREATE TABLE entries_other PARTITION OF entries DEFAULT;

-- Partitions of the month before, of this one and of three to come. With the rights of its owner,
-- so that the role that writes rows needs none to make tables. How many were made.
CREATE FUNCTION make_partitions(now_ms bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = "{schema}", pg_temp AS $$
DECLARE
    first date := date_trunc('month', timestamp '1970-01-01' + now_ms * interval '1 millisecond');
    month date;
    name  text;
    made  bigint := 0;
BEGIN
    FOR ahead IN -1..3 LOOP
        month := first + ahead * interval '1 month';
        name := 'entries_' || to_char(month, 'YYYY_MM');
        CONTINUE WHEN to_regclass(quote_ident(name)) IS NOT NULL;
        PERFORM set_config('lock_timeout', '2s', true);
        PERFORM pg_advisory_xact_lock(1112370277, hashtext('{schema}'));
        CONTINUE WHEN to_regclass(quote_ident(name)) IS NOT NULL;
        BEGIN
            -- Attached when it is whole: inserts go on meanwhile.
            EXECUTE format('CREATE TABLE %I (LIKE entries INCLUDING ALL)', name);
            EXECUTE format(
                'ALTER TABLE entries ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)', name,
                (extract(epoch FROM month) * 1000)::bigint,
                (extract(epoch FROM month + interval '1 month') * 1000)::bigint);
            made := made + 1;
        EXCEPTION WHEN check_violation THEN
            -- entries_other has rows of that month: they stay there, and what follows too.
            NULL;
        END;
    END LOOP;
    RETURN made;
END $$;
REVOKE EXECUTE ON FUNCTION make_partitions(bigint) FROM PUBLIC;
SELECT make_partitions((extract(epoch FROM now()) * 1000)::bigint);

-- Who lives, by this server's clock.
CREATE TABLE replicas (
    id           text        PRIMARY KEY,
    incarnation  text        NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    lease_until  timestamptz NOT NULL
);

-- Calls that were open at the last beat of their replica, as their record in its log.
CREATE TABLE open_calls (
    call_id text  NOT NULL COLLATE "C" PRIMARY KEY,
    replica text  NOT NULL,
    record  bytea NOT NULL
);
CREATE INDEX open_calls_replica ON open_calls (replica);

CREATE VIEW calls AS
SELECT
    call_id,
    to_char(timestamp '1970-01-01' + opened_at * interval '1 millisecond',
            'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS opened_at,
    to_char(timestamp '1970-01-01' + settled_at * interval '1 millisecond',
            'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS settled_at,
    tenant, application, "user", session,
    operation, model_asked, model, base_model, geography, region,
    tier_asked, tier_served, latency_served, invoked_model,
    outcome, status, error_class, aws_request_id, sdk_invocation_id, sdk_attempt,
    request_bytes, response_bytes, first_byte_ms, duration_ms,
    usage_source, usage_reason, read_from, disagreement,
    input_tokens, output_tokens, cache_read_tokens,
    cache_write_5m_tokens, cache_write_30m_tokens, cache_write_1h_tokens, units,
    price_status, price_reason,
    cost_microusd * 0.000001 + cost_femtousd * 0.000000000000001 AS cost_usd,
    catalogue
FROM entries;

CREATE VIEW charge_lines AS
SELECT
    e.call_id,
    e.opened_at,
    e.tenant,
    e.application,
    e.model,
    l.value ->> 'dimension'                      AS dimension,
    (l.value ->> 'quantity')::numeric            AS quantity,
    l.value ->> 'rate'                           AS rate,
    (l.value ->> 'femtousd_per_unit')::numeric   AS femtousd_per_unit
FROM entries AS e, jsonb_array_elements(e.lines::jsonb) AS l(value);
