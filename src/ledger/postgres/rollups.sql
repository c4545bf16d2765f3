-- Sums of hours and days, and until when entries were deleted.
--
-- A statement that adds entries adds their sums in the same transaction, whichever program runs it:
-- the trigger below does. It only ever adds rows, so that replicas that write at once never wait for
-- one another and cannot lock each other out. One hour (or day) of one key therefore may have several
-- rows: they are to be summed up. fold_sums makes one of them, now and then.

CREATE TABLE rollup_hours (
    begins_at              bigint  NOT NULL,
    tenant                 text    NOT NULL,
    application            text    NOT NULL,
    model                  text    NOT NULL,
    operation              text    NOT NULL,
    region                 text    NOT NULL,
    tier                   text    NOT NULL,
    outcome                text    NOT NULL,
    usage_source           text    NOT NULL,
    price_status           text    NOT NULL,
    catalogue              text    NOT NULL,
    calls                  bigint  NOT NULL,
    -- Wide: a sum that does not fit into 64 bits must not keep entries from coming in.
    cost_microusd          numeric NOT NULL,
    cost_femtousd          numeric NOT NULL,
    input_tokens           numeric NOT NULL,
    output_tokens          numeric NOT NULL,
    cache_read_tokens      numeric NOT NULL,
    cache_write_5m_tokens  numeric NOT NULL,
    cache_write_30m_tokens numeric NOT NULL,
    cache_write_1h_tokens  numeric NOT NULL,
    -- Whether fold_sums made it.
    folded                 boolean NOT NULL DEFAULT false
);
-- Not unique, and not of the texts: a name that is too long for an index must not keep entries out.
CREATE INDEX rollup_hours_begins_at ON rollup_hours (begins_at);
CREATE INDEX rollup_hours_unfolded ON rollup_hours (begins_at) WHERE NOT folded;
CREATE TABLE rollup_days (LIKE rollup_hours INCLUDING ALL);

CREATE TABLE retention (
    kept_from bigint NOT NULL
);

-- The sums of the entries that a statement has added, those that had their row already left out.
CREATE FUNCTION sum_up() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = "{schema}", pg_temp AS $$
BEGIN
    WITH hours AS (
        INSERT INTO rollup_hours
        SELECT opened_at - ((opened_at % 3600000) + 3600000) % 3600000, tenant, application,
            coalesce(model, ''), operation, region, coalesce(tier_served, tier_asked, 'standard'),
            outcome, usage_source, price_status, catalogue, count(*),
            coalesce(sum(cost_microusd), 0), coalesce(sum(cost_femtousd), 0),
            coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
            coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_5m_tokens), 0),
            coalesce(sum(cache_write_30m_tokens), 0), coalesce(sum(cache_write_1h_tokens), 0)
        FROM added
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
        RETURNING *
    )
    INSERT INTO rollup_days
    SELECT begins_at - ((begins_at % 86400000) + 86400000) % 86400000, tenant, application, model,
        operation, region, tier, outcome, usage_source, price_status, catalogue, sum(calls),
        sum(cost_microusd), sum(cost_femtousd), sum(input_tokens), sum(output_tokens),
        sum(cache_read_tokens), sum(cache_write_5m_tokens), sum(cache_write_30m_tokens),
        sum(cache_write_1h_tokens)
    FROM hours
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;
    RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION sum_up() FROM PUBLIC;

-- Who is adding entries ends first, and who comes waits for the end of this transaction: each entry
-- is either there for what follows or meets the trigger. Writers wait behind this one, and spill.
SET LOCAL lock_timeout = '10s';
LOCK TABLE entries IN SHARE ROW EXCLUSIVE MODE;
CREATE TRIGGER entries_sums AFTER INSERT ON entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION sum_up();

INSERT INTO rollup_hours
SELECT opened_at - ((opened_at % 3600000) + 3600000) % 3600000, tenant, application,
    coalesce(model, ''), operation, region, coalesce(tier_served, tier_asked, 'standard'),
    outcome, usage_source, price_status, catalogue, count(*),
    coalesce(sum(cost_microusd), 0), coalesce(sum(cost_femtousd), 0),
    coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
    coalesce(sum(cache_read_tokens), 0), coalesce(sum(cache_write_5m_tokens), 0),
    coalesce(sum(cache_write_30m_tokens), 0), coalesce(sum(cache_write_1h_tokens), 0), true
FROM entries
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;

INSERT INTO rollup_days
SELECT begins_at - ((begins_at % 86400000) + 86400000) % 86400000, tenant, application, model,
    operation, region, tier, outcome, usage_source, price_status, catalogue, sum(calls),
    sum(cost_microusd), sum(cost_femtousd), sum(input_tokens), sum(output_tokens),
    sum(cache_read_tokens), sum(cache_write_5m_tokens), sum(cache_write_30m_tokens),
    sum(cache_write_1h_tokens), true
FROM rollup_hours
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11;

-- Makes one row of those of each key, in the hours and days that have rows which were not folded,
-- once there are so many of these. Each row is taken away by one statement that puts its sums back in,
-- so whoever reads sees the same sums before and after. How many rows became fewer.
CREATE FUNCTION fold_sums(rows_min bigint) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = "{schema}", pg_temp AS $$
DECLARE
    name    text;
    rows    bigint;
    periods bigint[];
    fewer   bigint := 0;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1112370278, hashtext('{schema}')) THEN
        RETURN 0; -- Another replica is at it.
    END IF;
    FOREACH name IN ARRAY ARRAY['rollup_hours', 'rollup_days'] LOOP
        EXECUTE format(
            'SELECT count(*) FROM (SELECT 1 FROM %I WHERE NOT folded LIMIT $1) AS first', name)
            INTO rows USING rows_min;
        CONTINUE WHEN rows < rows_min;
        EXECUTE format('SELECT array_agg(DISTINCT begins_at) FROM %I WHERE NOT folded', name)
            INTO periods;
        EXECUTE format($fold$
            WITH gone AS (
                DELETE FROM %1$I WHERE begins_at = ANY ($1) RETURNING *
            ), made AS (
                INSERT INTO %1$I
                SELECT begins_at, tenant, application, model, operation, region, tier, outcome,
                    usage_source, price_status, catalogue, sum(calls), sum(cost_microusd),
                    sum(cost_femtousd), sum(input_tokens), sum(output_tokens),
                    sum(cache_read_tokens), sum(cache_write_5m_tokens),
                    sum(cache_write_30m_tokens), sum(cache_write_1h_tokens), true
                FROM gone
                GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11
                RETURNING 1
            )
            SELECT (SELECT count(*) FROM gone) - (SELECT count(*) FROM made) $fold$, name)
            INTO rows USING periods;
        fewer := fewer + rows;
    END LOOP;
    RETURN fewer;
END $$;
REVOKE EXECUTE ON FUNCTION fold_sums(bigint) FROM PUBLIC;

-- Deletes the oldest month that is over before an instant, or, when there is none, a thousand rows of
-- that time which no month took. Never of the last 62 days by this server's clock. Sums stay. Whether
-- there was anything, and so may be more.
CREATE FUNCTION forget_entries(before_ms bigint) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = "{schema}", pg_temp AS $$
DECLARE
    before timestamp := least(timestamp '1970-01-01' + before_ms * interval '1 millisecond',
                              now() AT TIME ZONE 'UTC' - interval '62 days');
    kept   timestamp := date_trunc('month', before);
    first  bigint := (extract(epoch FROM kept) * 1000)::bigint;
    oldest text;
    rows   bigint;
BEGIN
    -- Shorter than what writers wait for before they spill.
    PERFORM set_config('lock_timeout', '400ms', true);
    PERFORM pg_advisory_xact_lock(1112370277, hashtext('{schema}'));
    SELECT min(c.relname) INTO oldest
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'entries'::regclass AND c.relname ~ '^entries_\d{4}_\d{2}$'
        AND c.relname < 'entries_' || to_char(kept, 'YYYY_MM');
    IF oldest IS NOT NULL THEN
        EXECUTE format('DROP TABLE %I', oldest);
    ELSE
        DELETE FROM entries_other WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM entries_other WHERE opened_at < first LIMIT 1000));
        GET DIAGNOSTICS rows = ROW_COUNT;
        IF rows = 0 THEN
            RETURN false;
        END IF;
    END IF;
    DELETE FROM retention WHERE kept_from < first;
    INSERT INTO retention SELECT first WHERE NOT EXISTS (SELECT FROM retention);
    RETURN true;
END $$;
REVOKE EXECUTE ON FUNCTION forget_entries(bigint) FROM PUBLIC;
