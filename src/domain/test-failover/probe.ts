/**
 * What a guest must do to be called healthy, in the one written form that the program, the API and jobs share:
 *
 *   agent                        the guest agent answers
 *   tcp:22                       a connection is accepted
 *   http:80/health               answered with a status of 200 to 399
 *   http:80/health=204           answered with exactly this status
 *   command:/bin/check --all     a program in the guest, run through its agent, ends with 0
 *   command:["sh","-c","a b"]    the same, with arguments that hold blanks
 *
 * each of them with a deadline of its own where `@90s` (or `@5m`) follows.
 */
import { UnderstudyError } from '../error.ts';

export type Probe = ProbeKind & {
  /** From the start of the VM. */
  readonly deadlineSeconds: number;
};

export type ProbeKind =
  | { readonly type: 'agent' }
  | { readonly type: 'tcp'; readonly port: number }
  | {
      readonly type: 'http';
      readonly port: number;
      /** Begins with a slash. */
      readonly path: string;
      /** Null: any from 200 to 399. */
      readonly status: number | null;
    }
  | {
      readonly type: 'command';
      readonly program: string;
      readonly arguments: readonly string[];
    };

const DEFAULT_DEADLINE_SECONDS = 180;
const DEADLINE_SECONDS_MAX = 3600;

/** Throws `invalid-request` with what is wrong and how it is written. */
export function parseProbe(text: string, deadlineSeconds = DEFAULT_DEADLINE_SECONDS): Probe {
  const [, body = text, count, unit] = /^(.*)@(\d{1,4})([sm])$/s.exec(text) ?? [];
  const own = count === undefined ? deadlineSeconds : Number(count) * (unit === 'm' ? 60 : 1);
  if (own < 1 || own > DEADLINE_SECONDS_MAX) {
    throw malformed(text, `its deadline must be 1 to ${DEADLINE_SECONDS_MAX} seconds`);
  }
  return { ...parseKind(text, body), deadlineSeconds: own };
}

/** The written form, with the deadline only where it is not the usual one. */
export function formatProbe(probe: Probe): string {
  const { deadlineSeconds } = probe;
  const suffix = deadlineSeconds === DEFAULT_DEADLINE_SECONDS ? '' : `@${deadlineSeconds}s`;
  return `${formatKind(probe)}${suffix}`;
}

/** Without its deadline. */
export function formatKind(probe: ProbeKind): string {
  switch (probe.type) {
    case 'agent':
      return 'agent';
    case 'tcp':
      return `tcp:${probe.port}`;
    case 'http':
      return `http:${probe.port}${probe.path}${probe.status === null ? '' : `=${probe.status}`}`;
    case 'command': {
      const words = [probe.program, ...probe.arguments];
      const isPlain = words.every((word) => /^[^\s@[]+$/.test(word));
      return `command:${isPlain ? words.join(' ') : JSON.stringify(words)}`;
    }
  }
}

/** `body`: what is read; `text`: what a complaint shows. */
export function parseKind(text: string, body: string): ProbeKind {
  const at = body.indexOf(':');
  const [type, rest] = at === -1 ? [body, ''] : [body.slice(0, at), body.slice(at + 1)];
  switch (type) {
    case 'agent':
      if (at !== -1) throw malformed(text, 'agent takes nothing');
      return { type };
    case 'tcp':
      return { type, port: parsePort(text, rest) };
    case 'http':
      return parseHttp(text, rest);
    case 'command':
      return parseCommand(text, rest);
    default:
      throw malformed(text, 'it must begin with agent, tcp:, http: or command:');
  }
}

function parseHttp(text: string, rest: string): ProbeKind {
  const [, port = '', path = '', status] = /^(\d+)(\/.*?)?(?:=(\d{3}))?$/s.exec(rest) ?? [];
  // What ends a request line must not be smuggled into one.
  if (!/^[!-~]*$/.test(path) || path.length > 1024) {
    throw malformed(text, 'its path must be printable and without blanks');
  }
  const wanted = status === undefined ? null : Number(status);
  if (wanted !== null && (wanted < 100 || wanted > 599)) {
    throw malformed(text, 'its status must be 100 to 599');
  }
  return { type: 'http', port: parsePort(text, port), path: path || '/', status: wanted };
}

function parsePort(text: string, port: string): number {
  const value = /^\d{1,5}$/.test(port) ? Number(port) : 0;
  if (value < 1 || value > 65_535) throw malformed(text, 'its port must be 1 to 65535');
  return value;
}

const WORDS_MAX = 64;

function parseCommand(text: string, rest: string): ProbeKind {
  const words = rest.startsWith('[') ? parseWords(text, rest) : rest.split(/\s+/).filter(Boolean);
  const [program, ...others] = words;
  if (program === undefined || program === '' || words.length > WORDS_MAX || rest.length > 4096) {
    throw malformed(text, `it needs a program and at most ${WORDS_MAX} words`);
  }
  return { type: 'command', program, arguments: others };
}

function parseWords(text: string, rest: string): readonly string[] {
  let words: unknown;
  try {
    words = JSON.parse(rest);
  } catch {
    throw malformed(text, 'what follows is no JSON array');
  }
  if (!Array.isArray(words) || !words.every((word) => typeof word === 'string')) {
    throw malformed(text, 'its words must be texts');
  }
  return words;
}

function malformed(text: string, reason: string): UnderstudyError {
  const shown = text.slice(0, 120);
  const forms =
    'agent, tcp:22, http:80/health, http:80/health=204, command:/bin/check, each with @90s';
  return new UnderstudyError('invalid-request', {
    reason: `The probe ${shown} cannot be read: ${reason} (forms: ${forms})`,
  });
}
