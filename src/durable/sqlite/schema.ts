/** The journal's tables. Numbered by place: a migration that was released is never edited, only followed. */
export const JOURNAL_SCHEMA = {
  name: 'journal',
  migrations: [
    `
    CREATE TABLE operation (
      accepted INTEGER PRIMARY KEY,
      id TEXT NOT NULL UNIQUE,
      kind TEXT NOT NULL,
      subject TEXT NOT NULL,
      title TEXT NOT NULL,
      state TEXT NOT NULL,
      -- what an execution does next: 'forward' or 'backward' (compensating); survives a suspension
      direction TEXT NOT NULL DEFAULT 'forward',
      input TEXT NOT NULL,
      result TEXT NOT NULL DEFAULT 'null',
      -- what people are shown
      error TEXT,
      -- why it is compensated, and how it will end
      cause TEXT,
      ends_as TEXT,
      -- the step whose failure suspended it: where a retry begins
      failed_position INTEGER,
      slots TEXT NOT NULL,
      is_cancel_requested INTEGER NOT NULL DEFAULT 0,
      created_at INTEGER NOT NULL,
      started_at INTEGER,
      ended_at INTEGER
    ) STRICT;
    CREATE INDEX operation_subject ON operation (subject, accepted);
    CREATE INDEX operation_open ON operation (accepted) WHERE ended_at IS NULL;
    CREATE INDEX operation_ended ON operation (ended_at) WHERE ended_at IS NOT NULL;

    CREATE TABLE claim (
      name TEXT PRIMARY KEY,
      operation_id TEXT NOT NULL REFERENCES operation (id) ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX claim_operation ON claim (operation_id);

    CREATE TABLE step (
      operation_id TEXT NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
      position INTEGER NOT NULL,
      name TEXT NOT NULL,
      type TEXT NOT NULL,
      -- 'begun', 'done' or 'failed'
      outcome TEXT NOT NULL,
      -- 'nothing', 'irreversible', 'settling' (irreversible for its part), 'call' (the function knows) or 'changes' (in undo_changes)
      undo TEXT NOT NULL,
      undo_changes TEXT,
      is_undone INTEGER NOT NULL DEFAULT 0,
      value TEXT,
      error TEXT,
      deadline INTEGER,
      PRIMARY KEY (operation_id, position),
      UNIQUE (operation_id, name)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE event (
      operation_id TEXT NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
      sequence INTEGER NOT NULL,
      at INTEGER NOT NULL,
      type TEXT NOT NULL,
      step TEXT,
      message TEXT NOT NULL,
      duration_ms REAL,
      PRIMARY KEY (operation_id, sequence)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE message (
      id INTEGER PRIMARY KEY,
      operation_id TEXT NOT NULL REFERENCES operation (id) ON DELETE CASCADE,
      topic TEXT NOT NULL,
      body TEXT NOT NULL
    ) STRICT;
    CREATE INDEX message_topic ON message (operation_id, topic, id);
    `,
  ],
} as const;
