/** Fresh identities: lower-case letters, digits and dashes, unique for ever, roughly sortable by age. */
export interface Ids {
  /** `prefix-xxxxxxxxxxxx`; the prefix tells a person what the id names. */
  fresh(prefix: string): string;
  /** A random RFC 9562 version 4 UUID in lower case. */
  uuid(): string;
}
