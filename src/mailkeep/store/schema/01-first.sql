-- The index of one store. One writer at a time (the store's lock); readers as many as like.
-- Blobs hold msgpack as described beside each column. Numbers named `no` are local to this index
-- and never travel. Times are seconds since 1970, UTC, unless a column says nanoseconds.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,     -- what is what: mailkeep.store.index.Meta
    value ANY
) STRICT, WITHOUT ROWID;

CREATE TABLE replica (
    no        INTEGER PRIMARY KEY,      -- from 1; never given twice
    id        BLOB NOT NULL UNIQUE,     -- 8 random bytes
    seen      INTEGER NOT NULL,         -- the version vector: its writes up to this lamport are taken in
    member    INTEGER NOT NULL,         -- 1: it must acknowledge a tombstone before that is forgotten
    waived    INTEGER NOT NULL,         -- 1: another id replaced it
    forgotten INTEGER NOT NULL          -- 1: a person gave it up; it may only join as a new one
) STRICT;

CREATE TABLE ack (                      -- what another replica has durably taken in, as far as heard
    holder  INTEGER NOT NULL,           -- replica.no of the one that has it
    writer  INTEGER NOT NULL,           -- replica.no of the one that wrote it
    lamport INTEGER NOT NULL,
    PRIMARY KEY (holder, writer)
) STRICT, WITHOUT ROWID;

CREATE TABLE token (                    -- the last session with a replica, to notice backups and copies
    peer      INTEGER PRIMARY KEY,      -- replica.no
    confirmed BLOB,                     -- msgpack [session number, 8 random bytes], or NULL
    pending   BLOB,                     -- of a session whose end is unknown
    seq       INTEGER NOT NULL DEFAULT 0 -- our change number that it had everything up to, then
) STRICT;

CREATE TABLE peer (                     -- configured peers, by their name here
    name    TEXT PRIMARY KEY,
    replica INTEGER NOT NULL            -- the replica that last answered under this name
) STRICT, WITHOUT ROWID;

CREATE TABLE mailbox (
    no       INTEGER PRIMARY KEY,
    id       BLOB NOT NULL UNIQUE,      -- 16 bytes, from the name at creation; a rename keeps it
    regs     BLOB NOT NULL,             -- msgpack {register or annotation: [value, rank, writer, lamport, replica]}
    name     TEXT NOT NULL,             -- value of the register, for queries
    live     INTEGER NOT NULL,          -- value of the register
    validity INTEGER NOT NULL,          -- UIDVALIDITY
    uidnext  INTEGER NOT NULL,
    count    INTEGER NOT NULL,          -- live records
    digest   BLOB NOT NULL,             -- 256-bit sum over live records (mailkeep.rules.digest)
    seq      INTEGER NOT NULL,          -- when its registers last changed, in this store's own counting
    dir      BLOB,                      -- where it lies now, relative to the root; NULL: nowhere
    todo     INTEGER NOT NULL,          -- 1: its directory is not yet as its registers say (journal)
    stamps   BLOB,                      -- msgpack, per directory: as it was at the last trusted listing
    hold     INTEGER,                   -- hold.no when its disappearance is held
    problem  TEXT                       -- why it waits (a name that cannot be mapped here), or NULL
) STRICT;

CREATE TABLE content (
    no    INTEGER PRIMARY KEY,
    id    BLOB NOT NULL UNIQUE,         -- SHA-256 of the bytes
    size  INTEGER NOT NULL,             -- bytes
    kept  INTEGER NOT NULL,             -- 1: the vault has it, durably
    ino   INTEGER                       -- inode of the vault's object where it is a hard link, a hint
) STRICT;
CREATE INDEX content_ino ON content (ino) WHERE ino IS NOT NULL;

CREATE TABLE record (
    no      INTEGER PRIMARY KEY,
    mailbox INTEGER NOT NULL,           -- mailbox.no
    content INTEGER NOT NULL,           -- content.no
    copy    INTEGER NOT NULL,           -- which of several equal ones, from 0
    live    INTEGER NOT NULL,           -- value of the register
    uid     INTEGER NOT NULL,           -- value of the register
    flags   TEXT NOT NULL,              -- packed, what is on (mailkeep.domain.flags)
    regs    BLOB NOT NULL,              -- mailkeep.wire.registers
    seq     INTEGER NOT NULL,           -- when it last changed, in this store's own counting
    date    INTEGER NOT NULL,           -- INTERNALDATE
    hold    INTEGER,                    -- hold.no: gone, or to go, and a guard stopped that
    -- the file: local, never replicated
    sub     INTEGER NOT NULL,           -- 0 no file, 1 in new/, 2 in cur/
    base    BLOB,                       -- file name before the flags
    info    BLOB,                       -- the flags part as it is on disk, b':2,S'
    ino     INTEGER,
    mtime   INTEGER,                    -- nanoseconds, when it was hashed
    ctime   INTEGER,                    -- nanoseconds, when it was hashed; NULL: not known yet
    young   INTEGER NOT NULL,           -- 1: it was so new that it is looked at again next time
    todo    INTEGER NOT NULL            -- 1: the file is not yet as the record says (journal); 2: it is damaged
) STRICT;
CREATE UNIQUE INDEX record_key ON record (content, mailbox, copy);
CREATE INDEX record_uid ON record (mailbox, uid);
CREATE INDEX record_seq ON record (seq);
CREATE INDEX record_todo ON record (mailbox) WHERE todo;
CREATE INDEX record_young ON record (mailbox) WHERE young;
CREATE INDEX record_hold ON record (hold) WHERE hold IS NOT NULL;

CREATE TABLE hold (                     -- deletions that a guard stopped
    no      INTEGER PRIMARY KEY,
    made    INTEGER NOT NULL,
    origin  TEXT NOT NULL,              -- 'here': found by a scan, not yet a tombstone; else the peer's name
    reason  TEXT NOT NULL               -- which limit, in words
) STRICT;

CREATE TABLE vanish (                   -- what vanished lately, for limits over a time window
    at      INTEGER NOT NULL,
    mailbox INTEGER NOT NULL,
    count   INTEGER NOT NULL
) STRICT;

CREATE TABLE run (                      -- runs that changed something or failed
    no      INTEGER PRIMARY KEY,
    began   INTEGER NOT NULL,
    ended   INTEGER NOT NULL,
    verb    TEXT NOT NULL,
    peer    TEXT,
    status  INTEGER NOT NULL,           -- exit status
    counts  BLOB NOT NULL               -- msgpack {what: how many}
) STRICT;
