-- migrate:up
-- Who may call. Whoever changes one of these tables adds 1 to the version in the same
-- transaction and writes the new one into the rows it changed: gateways read what is newer.
CREATE TABLE identity_version (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    version BIGINT NOT NULL,
    realm TEXT NOT NULL             -- names this database, in snapshots of it
);
INSERT INTO identity_version (id, version, realm)
VALUES (1, 0, md5(random()::text || clock_timestamp()::text));
CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    document TEXT NOT NULL,         -- JSON
    disabled BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,     -- Unix milliseconds, as all times
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    version BIGINT NOT NULL
);
CREATE INDEX tenants_version ON tenants (version);
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,            -- public: the middle of prefix_id_secret
    tenant TEXT REFERENCES tenants (id),
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    hash TEXT NOT NULL,             -- SHA-256 of the secret, in hex
    previous_hash TEXT,             -- of the secret before the rotation
    previous_until BIGINT,
    document TEXT NOT NULL,         -- JSON
    created_by TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    version BIGINT NOT NULL
);
CREATE INDEX api_keys_version ON api_keys (version);
CREATE INDEX api_keys_tenant ON api_keys (tenant);
CREATE TABLE budgets (
    id TEXT PRIMARY KEY,
    level TEXT NOT NULL,            -- tenant or key
    owner TEXT NOT NULL,            -- the id of the tenant or key
    model TEXT,                     -- a public name; null: all models together
    amount_nano BIGINT NOT NULL,    -- nano-dollars
    soft_nano BIGINT,
    period TEXT NOT NULL,           -- day, week, month, total
    zone TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    deleted_at BIGINT,
    version BIGINT NOT NULL
);
CREATE INDEX budgets_version ON budgets (version);
CREATE INDEX budgets_owner ON budgets (level, owner);

-- migrate:down
DROP TABLE budgets;
DROP TABLE api_keys;
DROP TABLE tenants;
DROP TABLE identity_version;
