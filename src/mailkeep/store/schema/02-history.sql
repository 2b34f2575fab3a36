-- Keeping and giving back: when a message was expunged, until when its content is kept, and what each run changed.

ALTER TABLE record ADD COLUMN gone INTEGER;     -- when it became a tombstone here, or that was approved; NULL: live, or held
ALTER TABLE record ADD COLUMN keep INTEGER;     -- until then its content can be given back; NULL: live, held, or purged
UPDATE record SET gone = unixepoch(), keep = unixepoch() + 90 * 86400 WHERE NOT live AND hold IS NULL;
CREATE INDEX record_keep ON record (keep) WHERE keep IS NOT NULL;
CREATE INDEX record_gone ON record (gone) WHERE gone IS NOT NULL AND keep IS NULL;

ALTER TABLE run RENAME TO old_run;
CREATE TABLE run (                      -- runs that changed something or failed
    no           INTEGER PRIMARY KEY,
    began        INTEGER NOT NULL,
    ended        INTEGER,               -- NULL: it was cut off, or goes on
    verb         TEXT NOT NULL,
    peer         TEXT,
    status       INTEGER,               -- exit status; NULL likewise
    counts       BLOB NOT NULL,         -- msgpack {what: how many}
    first_change INTEGER,               -- its changes are those from here to the next run's; NULL: before history was kept
    first_record INTEGER                -- likewise the records that it made
) STRICT;
INSERT INTO run SELECT no, began, ended, verb, peer, status, counts, NULL, NULL FROM old_run;
DROP TABLE old_run;

CREATE TABLE change (                   -- how live and flags of a record were before a run changed them
    no     INTEGER PRIMARY KEY,         -- never given twice
    record INTEGER NOT NULL,            -- record.no
    live   INTEGER NOT NULL,
    flags  TEXT NOT NULL,               -- packed
    cause  INTEGER NOT NULL,            -- mailkeep.store.history.Cause
    writer INTEGER NOT NULL             -- replica.no of the one that wrote what it became
) STRICT;
CREATE INDEX change_record ON change (record);

CREATE TABLE box_change (               -- how a mailbox was before a run changed it
    no      INTEGER PRIMARY KEY,        -- counted together with change.no
    mailbox INTEGER NOT NULL,           -- mailbox.no
    name    TEXT NOT NULL,              -- '': it was not there
    live    INTEGER NOT NULL,
    cause   INTEGER NOT NULL,
    writer  INTEGER NOT NULL
) STRICT;
