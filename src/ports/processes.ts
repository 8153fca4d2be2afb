/**
 * Programs of the operating system. Arguments are arrays, never a shell line, so that a name may carry any
 * character. A short-lived command is run and its output collected; a daemon outlives the call, even
 * the controller, and is named by an identity that is never confused with a later process of the same pid.
 */
import type { CallOptions } from './call.ts';

export interface Processes {
  /**
   * Runs a command to its end. A non-zero exit is an answer, not an error: the caller knows what it means.
   * An abort or the time limit ends the process (SIGTERM, then SIGKILL) and waits until it is gone.
   * Throws `command-missing`, `command-output-too-large`, `timed-out`, `cancelled`; `access-denied` where its files
   * cannot be written.
   */
  run(command: Command, options: CallOptions): Promise<CommandResult>;

  /**
   * Starts a program in a session of its own that is meant to go on; resolves once it was started, which does not
   * mean that it is ready. Throws `command-missing`.
   */
  startDaemon(daemon: Daemon): Promise<ProcessIdentity>;

  /** Whether exactly this process still runs; one that ended but was not yet collected does not. */
  isAlive(process: ProcessIdentity): Promise<boolean>;

  /**
   * Ends exactly this process: SIGTERM, and SIGKILL after `graceMs`. Resolves when it is gone; at once if
   * it already was. An abort stops the waiting only. Throws `cancelled`.
   */
  end(process: ProcessIdentity, graceMs: number, options: CallOptions): Promise<void>;
}

type Program = {
  /** A program name looked up in PATH, or an absolute path. */
  readonly command: string;
  readonly arguments: readonly string[];
  /** Added to the inherited environment; `LC_ALL=C` unless given. */
  readonly env?: Readonly<Record<string, string>>;
  readonly folder?: string;
};

export type Command = Program & {
  /** Written to stdin, which is then closed; without it stdin is empty. */
  readonly input?: string | Uint8Array;
  /**
   * Texts that the command opens as files, see `commandFile`. No folder holds them, so that nobody else opens them and
   * nothing is left of them, whatever ends the command or us.
   */
  readonly files?: readonly string[];
  /** More output than this ends the command with `command-output-too-large`. Without it 16 MiB. */
  readonly stdoutBytesMax?: number;
  /** Without it 60 s. */
  readonly timeoutMs?: number;
};

/** The path by which a command opens the file at this place in its `files`. */
export function commandFile(index: number): string {
  return `/dev/fd/${3 + index}`;
}

export type CommandResult = {
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** Decoded as UTF-8. */
  readonly stdout: string;
  /** The last 64 KiB. */
  readonly stderr: string;
};

export type Daemon = Program & {
  /** Where stdout and stderr are appended; made with mode 0600. */
  readonly logPath: string;
};

/** A pid together with the moment it began, in clock ticks since boot (proc(5), field 22 of `stat`), and the boot. */
export type ProcessIdentity = {
  readonly pid: number;
  readonly startTime: string;
};
