/**
 * Where the server is and what opens it: options first, then the environment, then what the server wrote
 * into its data folder (`server.json` with the address, `token`). The token never travels in arguments, where
 * every user of the machine could read it.
 */
import { EXIT } from './exit-codes.ts';
import { Failure, usageFailure } from './failure.ts';
import type { CliWorld } from './world.ts';

export type Location = {
  /** As the person or the file wrote it. */
  readonly address: string;
  readonly socket:
    | { readonly socketPath: string }
    | { readonly host: string; readonly port: number };
  readonly token: string;
};

export type LocationOptions = { readonly server?: string; readonly data?: string };

export function dataFolder(world: CliWorld, options: LocationOptions): string {
  return options.data ?? setting(world, 'UNDERSTUDY_DATA') ?? world.defaultDataFolder;
}

/** Throws a failure with exit code 69 when there is no server to be found, 2 when the address is none. */
export async function locate(world: CliWorld, options: LocationOptions): Promise<Location> {
  const folder = dataFolder(world, options);
  const named = options.server ?? setting(world, 'UNDERSTUDY_SERVER');
  const address = named ?? (await recordedAddress(world, folder));
  const socket = parseServerAddress(address);
  const token = (setting(world, 'UNDERSTUDY_TOKEN') ?? (await recordedToken(world, folder))).trim();
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw usageFailure('The access token must be one line of visible ASCII characters.');
  }
  return { address, socket, token };
}

/** A variable that is set to nothing counts as not set. */
function setting(world: CliWorld, name: string): string | undefined {
  return world.environment[name] || undefined;
}

/** Only this machine: the token would go over the network in the clear. */
function parseServerAddress(text: string): Location['socket'] {
  if (text.startsWith('unix:/')) return { socketPath: text.slice('unix:'.length) };
  const match = /^(?:http:\/\/)?(127\.0\.0\.1|\[::1\]|localhost):(\d{1,5})\/?$/.exec(text);
  const port = Number(match?.[2]);
  if (match === null || port < 1 || port > 65_535) {
    throw usageFailure(
      `A server address is http://127.0.0.1:PORT or unix:/PATH on this machine, not "${text}".`,
    );
  }
  return { host: match[1] === '[::1]' ? '::1' : '127.0.0.1', port };
}

async function recordedAddress(world: CliWorld, folder: string): Promise<string> {
  const text = await read(world, `${folder}/server.json`, folder);
  try {
    const record: unknown = JSON.parse(text);
    if (typeof record === 'object' && record !== null && 'address' in record) {
      if (typeof record.address === 'string') return record.address;
    }
  } catch {
    // Said below: a file cut short and a file of something else are the same to the reader.
  }
  throw new Failure(`${folder}/server.json does not name a server.`, EXIT.unreachable);
}

function recordedToken(world: CliWorld, folder: string): Promise<string> {
  return read(world, `${folder}/token`, folder);
}

async function read(world: CliWorld, path: string, folder: string): Promise<string> {
  try {
    return await world.readFile(path);
  } catch (cause) {
    throw new Failure(unreadable(path, folder, errorCode(cause)), EXIT.unreachable, { cause });
  }
}

function unreadable(path: string, folder: string, code: string): string {
  if (code === 'ENOENT') {
    return `No server runs with the data folder ${folder}. Start one with \`understudy serve --data ${folder}\`, or name another folder with --data or UNDERSTUDY_DATA.`;
  }
  const advice =
    code === 'EACCES' ? ' Run as the user who runs the server, or set UNDERSTUDY_TOKEN.' : '';
  return `${path} cannot be read (${code}).${advice}`;
}

export function errorCode(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error) return String(error.code);
  return error instanceof Error ? error.message : String(error);
}
