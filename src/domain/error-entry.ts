/** What the catalogue says of an error; what the kinds mean is told there. */
export type ErrorKind = 'invalid' | 'missing' | 'conflict' | 'transient' | 'cancelled' | 'bug';

export type CatalogEntry = {
  readonly kind: ErrorKind;
  /** One sentence; `{name}` is filled from the details. */
  readonly message: string;
  /** What a person can do next; empty only where the message says it all. */
  readonly remedy: string;
};
