/**
 * Asks a port of a guest from inside it, through its agent, with whatever the guest has for that: for a VM that is
 * unplugged there is no other way. A guest that has nothing fails with that as the reason; it never passes.
 */
import type { ProbeKind } from '../../domain/test-failover/probe.ts';
import type { CallOptions } from '../../ports/call.ts';
import type { ProbeAttempt, ProbeTest } from '../../ports/test-bench.ts';
import { AGENT_SILENT, execInGuest, type GuestExit } from './guest-exec.ts';

export type NetworkProbe = Extract<ProbeKind, { readonly type: 'tcp' | 'http' }>;

type Way = {
  readonly program: string;
  readonly arguments: readonly string[];
  readonly input?: string;
  /** Null: this way tells nothing, try the next. */
  readonly verdict: (exit: GuestExit) => ProbeAttempt | null;
};

export async function askInside(
  tools: Parameters<typeof execInGuest>[0],
  { vmId, limitMs }: Pick<ProbeTest, 'vmId' | 'limitMs'>,
  probe: NetworkProbe,
  options: CallOptions,
): Promise<ProbeAttempt> {
  const tried: string[] = [];
  for (const { verdict, ...program } of waysOf(probe, limitMs)) {
    const exit = await execInGuest(tools, { vmId, ...program, limitMs }, options);
    if (exit.type === 'none' && exit.why === AGENT_SILENT) return { passed: false, why: exit.why };
    const found = verdict(exit);
    if (found !== null) return { ...found, why: `asked inside the guest: ${found.why}` };
    tried.push(program.program);
  }
  const why = `the guest, which is unplugged, has nothing to ask it with (tried ${tried.join(', ')})`;
  return { passed: false, why };
}

function waysOf(probe: NetworkProbe, limitMs: number): readonly Way[] {
  // Sooner than our own limit, so that what is still running then is connected.
  const seconds = String(Math.max(1, Math.floor(limitMs / 1000) - 2));
  return probe.type === 'tcp' ? tcpWays(probe, seconds) : httpWays(probe, seconds);
}

function tcpWays(
  { port }: Extract<NetworkProbe, { type: 'tcp' }>,
  seconds: string,
): readonly Way[] {
  const open = { passed: true, why: `port ${port} accepted a connection` };
  const closed = (why: string) => ({ passed: false, why: `port ${port}: ${why}` });
  const byCode = (exit: GuestExit) => {
    if (exit.type === 'unended') return closed('no answer');
    if (exit.type === 'none' || isMisuse(exit.output)) return null;
    return exit.code === 0 ? open : closed(lastLine(exit.output) || 'refused');
  };
  const plain = ['-w', seconds, '127.0.0.1', String(port)];
  return [
    {
      program: 'bash',
      arguments: ['-c', 'exec 3<>"/dev/tcp/127.0.0.1/$1"', 'probe', String(port)],
      verdict: byCode,
    },
    { program: 'nc', arguments: ['-z', ...plain], verdict: byCode },
    // Without -z it stays connected until the other side hangs up.
    {
      program: 'nc',
      arguments: plain,
      verdict: (exit) => (exit.type === 'unended' ? open : byCode(exit)),
    },
  ];
}

function httpWays(probe: Extract<NetworkProbe, { type: 'http' }>, seconds: string): readonly Way[] {
  const { port, path } = probe;
  const url = `http://127.0.0.1:${port}${path}`;
  const byStatus = (pattern: RegExp) => (exit: GuestExit) => {
    if (exit.type === 'unended') return { passed: false, why: 'no answer in time' };
    if (exit.type === 'none' || isMisuse(exit.output)) return null;
    const status = pattern.exec(exit.output)?.[1];
    if (status === undefined || status === '000') {
      return { passed: false, why: lastLine(exit.output) || `no answer (exit code ${exit.code})` };
    }
    return { passed: isExpected(probe, Number(status)), why: `status ${status}` };
  };
  return [
    {
      program: 'curl',
      arguments: ['-s', '-o', '/dev/null', '-m', seconds, '-w', '%{http_code}', url],
      verdict: byStatus(/(\d{3})\s*$/),
    },
    {
      program: 'nc',
      arguments: ['-w', seconds, '127.0.0.1', String(port)],
      input: `GET ${path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n`,
      verdict: byStatus(/^HTTP\/\d\.\d (\d{3})/m),
    },
    // It tells a good status from a bad one, and not which it was.
    ...(probe.status === null ? [wget(url, seconds)] : []),
  ];
}

function wget(url: string, seconds: string): Way {
  return {
    program: 'wget',
    arguments: ['-q', '-T', seconds, '-O', '/dev/null', url],
    verdict: (exit) => {
      if (exit.type !== 'exited' || isMisuse(exit.output)) return null;
      return { passed: exit.code === 0, why: `wget ended with ${exit.code}` };
    },
  };
}

function isExpected({ status }: Extract<NetworkProbe, { type: 'http' }>, got: number): boolean {
  return status === null ? got >= 200 && got < 400 : got === status;
}

/** The program is another one than we think. */
function isMisuse(output: string): boolean {
  return /usage:|invalid option|unrecognized option|unknown option/i.test(output);
}

function lastLine(output: string): string {
  return output.trim().split('\n').at(-1) ?? '';
}
