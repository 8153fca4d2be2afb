/**
 * Files that no folder names. Definitions of VMs may hold passwords: what has a name outlives a server that is killed.
 * Linux lets a program open what another opened for it anew, as `/dev/fd/N`, also when its name is gone.
 */
import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UnderstudyError } from '../domain/error.ts';

type NamelessFiles = AsyncDisposable & { readonly descriptors: readonly number[] };

/** Open until disposed; a program that got them keeps them. Throws `access-denied`. */
export async function namelessFiles(texts: readonly string[]): Promise<NamelessFiles> {
  await using opened = new AsyncDisposableStack();
  const handles: FileHandle[] = [];
  for (const text of texts) {
    const handle = opened.use(await openNameless());
    await handle.writeFile(text).catch(refuse);
    handles.push(handle);
  }
  const kept = opened.move();
  return {
    descriptors: handles.map(({ fd }) => fd),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** It loses its name while it is empty. */
async function openNameless(): Promise<FileHandle> {
  const path = join(tmpdir(), `understudy-${randomUUID()}`);
  const handle = await open(path, 'wx+', 0o600).catch(refuse);
  try {
    await rm(path);
    return handle;
  } catch (cause) {
    await handle.close();
    return refuse(cause);
  }
}

function refuse(cause: unknown): never {
  const path = tmpdir();
  const reason = cause instanceof Error ? cause.message : String(cause);
  const fix = `Make room in ${path} and let the server write to it, or start it with another folder in TMPDIR.`;
  throw new UnderstudyError('access-denied', { path, who: 'the server', reason, fix }, cause);
}
