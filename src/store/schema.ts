/**
 * The catalogue's tables: documents with what they are looked up and ordered by. Numbered by place: a
 * migration that was released is never edited, only followed.
 */
export const CATALOG_SCHEMA = {
  name: 'catalog',
  migrations: [
    `
    CREATE TABLE host (id TEXT PRIMARY KEY, version INTEGER NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE job (id TEXT PRIMARY KEY, version INTEGER NOT NULL, document TEXT NOT NULL) STRICT;
    CREATE TABLE replica (id TEXT PRIMARY KEY, version INTEGER NOT NULL, document TEXT NOT NULL) STRICT;

    CREATE TABLE point (
      replica_id TEXT NOT NULL,
      id TEXT NOT NULL,
      document TEXT NOT NULL,
      PRIMARY KEY (replica_id, id)
    ) STRICT;

    CREATE TABLE condition (
      replica_id TEXT NOT NULL,
      name TEXT NOT NULL,
      document TEXT NOT NULL,
      PRIMARY KEY (replica_id, name)
    ) STRICT;

    CREATE TABLE temporary (key TEXT PRIMARY KEY, document TEXT NOT NULL) STRICT;
    `,
  ],
} as const;
