-- Three roles for the ledger in PostgreSQL, each with no more than it needs. Run it once in the
-- ledger's database as somebody who may create roles; running it again changes nothing:
--
--   psql -d meter -v ON_ERROR_STOP=1 -f roles.sql
--
-- Then give each a way to prove itself (\password meter_writer), and make the tables as the
-- owner: `bedrock-meter ledger migrate` with a configuration whose ledger.postgres.url is the
-- owner's. It also grants the two others what stands below; so run it again after each upgrade,
-- before the replicas.
--
--   meter_owner   owns schema and tables; migrates; never serves
--   meter_writer  serves: adds entries and reads them; changes and deletes none
--   meter_reader  reads entries and views
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['owner', 'writer', 'reader'] LOOP
        role := 'meter_' || role;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format(
                'CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION', role);
        END IF;
    END LOOP;
END $$;

ALTER ROLE meter_reader SET default_transaction_read_only = on;

CREATE SCHEMA IF NOT EXISTS bedrock_meter AUTHORIZATION meter_owner;
REVOKE ALL ON SCHEMA bedrock_meter FROM PUBLIC;
