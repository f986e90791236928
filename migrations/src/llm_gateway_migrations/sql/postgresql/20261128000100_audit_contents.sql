-- migrate:up
-- A record commits to its content (actor, tenant, subject, request_id, peer, detail) by a salted
-- hash, so that the content can be erased and the chain still holds; then the salt is empty.
ALTER TABLE audit_records ADD COLUMN body TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_records ADD COLUMN salt TEXT NOT NULL DEFAULT '';

-- migrate:down
ALTER TABLE audit_records DROP COLUMN salt;
ALTER TABLE audit_records DROP COLUMN body;
