-- migrate:up
CREATE TABLE acme_notes (note TEXT);

-- migrate:down
DROP TABLE acme_notes;
