import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { formatServerAddress } from '../../api/listen-address.ts';
import { type ApiRoom, openApiRoom, TOKEN } from '../../api/testing/api-room.ts';
import { NOON } from '../../api/testing/sample-values.ts';
import { runCli } from '../run-cli.ts';
import type { CliWorld, ServeOptions } from '../world.ts';

export type Ran = { readonly code: number; readonly out: string; readonly err: string };

export type CliRoom = {
  readonly folder: string;
  readonly served: readonly ServeOptions[];
  /** Runs the program to its end. */
  run(line: string | readonly string[], changes?: Partial<CliWorld>): Promise<Ran>;
};

export type ServedRoom = CliRoom & Pick<ApiRoom, 'fake' | 'api' | 'clock'>;

/** A world without a server: an empty data folder. */
export async function openCliRoom(t: TestContext): Promise<CliRoom> {
  const folder = await mkdtemp(join(tmpdir(), 'understudy-cli-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const served: ServeOptions[] = [];
  let keys = 0;
  return {
    folder,
    served,
    run: async (line, changes = {}) => {
      const written = { out: '', err: '' };
      const output = (name: 'out' | 'err') => ({
        isTerminal: false,
        columns: 80,
        write: (text: string) => {
          written[name] += text;
        },
      });
      const code = await runCli({
        arguments: typeof line === 'string' ? line.split(' ') : line,
        environment: {},
        stdout: output('out'),
        stderr: output('err'),
        version: '9.9.9',
        defaultDataFolder: folder,
        readFile: (path) => readFile(path, 'utf8'),
        now: () => NOON + 60_000,
        sleep: async () => undefined,
        freshKey: () => `key-${++keys}`,
        interrupt: new AbortController().signal,
        serve: async (options) => {
          served.push(options);
          return 0;
        },
        ...changes,
      });
      return { code, ...written };
    },
  };
}

/** A world with a server over a fake controller, found through the data folder as in real life. */
export async function openServedRoom(
  t: TestContext,
  transport: 'unix' | 'tcp' = 'unix',
): Promise<ServedRoom> {
  const room = await openCliRoom(t);
  const { api, fake, clock } = openApiRoom(t);
  const address = await api.listen(
    transport === 'unix'
      ? { type: 'unix', path: join(room.folder, 'api.sock') }
      : { type: 'tcp', host: '127.0.0.1', port: 0 },
  );
  const record = JSON.stringify({ address: formatServerAddress(address), pid: 1 });
  await writeFile(join(room.folder, 'server.json'), record);
  await writeFile(join(room.folder, 'token'), `${TOKEN}\n`);
  return { ...room, api, fake, clock };
}
