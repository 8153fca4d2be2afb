/** Where in an operation a context stands. */
export type Scope = {
  /** Before the names of its steps: empty, or parts with their slashes. */
  readonly prefix: string;
  /** Called when what is irreversible has succeeded in a part that binds itself; null: it binds the operation. */
  readonly onSettled: (() => void) | null;
};

/** How an irreversible step is journaled: it binds the operation, or its part alone. */
export function bindingOf({ onSettled }: Scope): 'irreversible' | 'settling' {
  return onSettled === null ? 'irreversible' : 'settling';
}
