/**
 * One libvirt daemon, spoken to through `virsh`: one short process per command, 25-55 ms each.
 *
 * VMs are addressed by UUID, which can be taken neither for an option nor for another VM's name (virsh looks up
 * ids, then UUIDs, then names). XML goes through files without a name: `/dev/stdin` cannot be opened when stdin is a
 * socket, which is what Node gives a child.
 */
import { UnderstudyError } from '../../domain/error.ts';
import type { CallOptions } from '../../ports/call.ts';
import { type CommandResult, commandFile, type Processes } from '../../ports/processes.ts';
import { hasCode, hostUnreachable, isLookupFailure, virshError } from './errors.ts';
import { createGate } from './gate.ts';

/** A text that the command wants as a file: the path of a private one is put here. */
export type FileArgument = { readonly file: string };

export type VirshOptions = CallOptions & {
  /**
   * After this the daemon counts as hung: `host-unreachable`. Without it 45 s, because libvirt itself waits up to
   * 30 s for another job on the VM, and its first command after an installation takes 10 s.
   */
  readonly timeoutMs?: number;
};

export interface Virsh {
  readonly uri: string;
  readonly hostName: string;
  /**
   * Runs one command and gives its stdout. Put `--` before a positional argument that is not a UUID.
   * An abort or the time limit ends our client; what the daemon has begun, it may finish.
   * Throws `host-unreachable` (no daemon, a hung one, no virsh), `vm-missing`, `vm-busy` (another job holds the VM),
   * `guest-not-answering` (agent commands), `hypervisor-refused` with libvirt's own words, `cancelled`.
   */
  run(args: readonly (string | FileArgument)[], options: VirshOptions): Promise<string>;
}

export type VirshSettings = {
  readonly uri: string;
  /** As people know the host, for messages. */
  readonly hostName: string;
  readonly processes: Processes;
  /** Added to what the program inherits, e.g. XDG_RUNTIME_DIR for a session daemon. */
  readonly environment?: Readonly<Record<string, string>>;
};

/** libvirtd serves 20 clients at once by default and has 20 workers; we leave most of them to others. */
const COMMANDS_AT_ONCE = 8;
const TIMEOUT_MS = 45_000;

export function createVirsh(settings: VirshSettings): Virsh {
  const { uri, hostName } = settings;
  const gate = createGate(COMMANDS_AT_ONCE);
  return {
    uri,
    hostName,
    run: (args, options) => gate.enter(() => runVirsh(settings, args, options), options),
  };
}

async function runVirsh(
  settings: VirshSettings,
  args: readonly (string | FileArgument)[],
  options: VirshOptions,
): Promise<string> {
  const { hostName } = settings;
  const result = await spawnVirsh(settings, args, options);
  if (result.exitCode === 0) return result.stdout;
  const vm = vmAmong(args);
  const stderr = stderrOf(result);
  if (vm !== null && isLookupFailure(stderr)) await requireListed(settings, vm, options);
  throw virshError({ hostName, action: actionOf(args), vm, stderr });
}

async function spawnVirsh(
  { uri, hostName, processes, environment }: VirshSettings,
  args: readonly (string | FileArgument)[],
  { signal, timeoutMs = TIMEOUT_MS }: VirshOptions,
): Promise<CommandResult> {
  const texts = args.filter((argument) => typeof argument !== 'string');
  const plain = args.map((argument) =>
    typeof argument === 'string' ? argument : commandFile(texts.indexOf(argument)),
  );
  const command = {
    command: 'virsh',
    arguments: ['-q', '-c', uri, ...plain],
    env: { ...environment, LC_ALL: 'C' },
    files: texts.map(({ file }) => file),
    timeoutMs,
  };
  try {
    return await processes.run(command, { signal });
  } catch (error) {
    throw programError(error, { hostName, action: actionOf(args), timeoutMs });
  }
}

/** Positive evidence for `vm-missing`: the daemon answers, and its list lacks the VM. */
async function requireListed(
  settings: VirshSettings,
  vm: string,
  options: VirshOptions,
): Promise<void> {
  const { hostName } = settings;
  const action = 'list';
  const result = await spawnVirsh(settings, [action, '--all', '--uuid'], options);
  if (result.exitCode !== 0) throw virshError({ hostName, action, vm, stderr: stderrOf(result) });
  const isListed = result.stdout.split('\n').some((line) => line.trim() === vm);
  if (!isListed) throw new UnderstudyError('vm-missing', { vm, host: hostName });
}

/** A client that is missing or never ends tells nothing about any VM: the host does not answer. */
function programError(
  error: unknown,
  { hostName, action, timeoutMs }: { hostName: string; action: string; timeoutMs: number },
): unknown {
  if (hasCode(error, 'timed-out')) {
    // Several questions in one are known by the first of them.
    const asked = action.split(' ', 1)[0];
    const reason = `libvirt did not answer ${asked} for ${timeoutMs / 1000} s`;
    return hostUnreachable(hostName, reason, error);
  }
  if (hasCode(error, 'command-missing')) {
    return hostUnreachable(hostName, 'the program virsh (libvirt-clients) is not installed', error);
  }
  return error;
}

function stderrOf({ exitCode, signal, stderr }: CommandResult): string {
  if (exitCode !== null) return stderr;
  return `${stderr}\nerror: virsh was ended by ${signal ?? 'a signal'}`;
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function vmAmong(args: readonly (string | FileArgument)[]): string | null {
  return args.filter((one) => typeof one === 'string').find((one) => UUID.test(one)) ?? null;
}

function actionOf([first]: readonly (string | FileArgument)[]): string {
  return typeof first === 'string' ? first : 'virsh';
}
