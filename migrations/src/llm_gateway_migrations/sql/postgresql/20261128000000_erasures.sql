-- migrate:up
-- What was erased stays known, so that it is erased again where it comes back.
CREATE TABLE tenant_erasures (
    tenant TEXT PRIMARY KEY,
    requested_at BIGINT NOT NULL,   -- Unix milliseconds, as all times
    requested_by TEXT,              -- the id of a key
    finished_at BIGINT,
    done TEXT NOT NULL              -- JSON: how many records of each kind
);
-- The id of an erased tenant is not given again; an erased key leaves an empty row, by which
-- gateways learn that it is gone.
ALTER TABLE tenants ADD COLUMN erased_at BIGINT;
ALTER TABLE api_keys ADD COLUMN deleted_at BIGINT;

-- migrate:down
ALTER TABLE api_keys DROP COLUMN deleted_at;
ALTER TABLE tenants DROP COLUMN erased_at;
DROP TABLE tenant_erasures;
