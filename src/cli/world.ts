/** Everything that the program touches, handed in by its composition root, so that tests can be the world. */

export type Output = {
  readonly isTerminal: boolean;
  /** Width of the terminal; ignored elsewhere. */
  readonly columns: number;
  write(text: string): void;
};

export type ServeOptions = {
  readonly dataFolder: string;
  /** `127.0.0.1:PORT` or `unix:PATH`, not yet parsed; null: the server's choice. */
  readonly listen: string | null;
};

export type CliWorld = {
  /** Without the interpreter and the script. */
  readonly arguments: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly version: string;
  /** Where the server's folder is when nobody says otherwise. */
  readonly defaultDataFolder: string;
  /** Rejects with a Node error (`ENOENT`, `EACCES`, …). */
  readFile(path: string): Promise<string>;
  /** Milliseconds since 1970, for ages. */
  now(): number;
  /** Rejects when the signal is aborted. */
  sleep(ms: number, options: { readonly signal: AbortSignal }): Promise<void>;
  /** A random idempotency key: visible ASCII. */
  freshKey(): string;
  /** Aborted by the first Ctrl-C; later ones must do nothing. */
  readonly interrupt: AbortSignal;
  /** Runs the server until it is told to stop; resolves with the exit code. */
  serve(options: ServeOptions): Promise<number>;
};
