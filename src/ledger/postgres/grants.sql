-- What the roles of deploy/postgres/roles.sql may do, where they exist. Run after each migration.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'meter_writer') THEN
        GRANT USAGE ON SCHEMA "{schema}" TO meter_writer;
        GRANT SELECT ON "schema" TO meter_writer;
        GRANT SELECT, INSERT ON entries TO meter_writer;
        GRANT SELECT, INSERT, UPDATE, DELETE ON replicas, open_calls TO meter_writer;
        GRANT SELECT, INSERT, UPDATE, DELETE ON alert_deliveries TO meter_writer;
        GRANT EXECUTE ON FUNCTION make_partitions(bigint) TO meter_writer;
        GRANT SELECT ON rollup_hours, rollup_days, retention TO meter_writer;
        GRANT EXECUTE ON FUNCTION fold_sums(bigint) TO meter_writer;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'meter_reader') THEN
        GRANT USAGE ON SCHEMA "{schema}" TO meter_reader;
        GRANT SELECT ON "schema", entries, calls, charge_lines, replicas TO meter_reader;
        GRANT SELECT ON rollup_hours, rollup_days, retention TO meter_reader;
        GRANT SELECT ON alert_deliveries TO meter_reader;
    END IF;
END $$;
