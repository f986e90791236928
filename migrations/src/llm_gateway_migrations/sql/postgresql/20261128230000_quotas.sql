-- migrate:up
-- Of money, of tokens or of requests: the amounts of the latter two are plain numbers.
ALTER TABLE budgets ADD COLUMN unit TEXT NOT NULL DEFAULT 'usd';

-- migrate:down
DELETE FROM budgets WHERE unit <> 'usd';
ALTER TABLE budgets DROP COLUMN unit;
