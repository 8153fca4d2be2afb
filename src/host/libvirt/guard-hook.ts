/**
 * The hook that libvirt runs before it starts a VM, and where it lies.
 *
 *   <hooks>/qemu.d/understudy                        the hook; libvirt runs every program in `qemu.d`, beside others
 *   <hooks>/understudy-guards/<uuid>.<replica>       one VM that may not start: the reason, then what we remember
 *
 * Whether there are hooks at all libvirt looks up when it starts and when it is reloaded; from then on what the folder of
 * guards holds decides. The hook speaks to nobody: libvirt waits for it, so that asking libvirt would never be answered.
 */
import { mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { UnderstudyError } from '../../domain/error.ts';
import { syncFolder } from './sync.ts';

/**
 * Only `prepare` is looked at: a refusal of `reconnect` would kill a VM that runs. The UUID is the first `<uuid>` of the
 * definition, which libvirt writes itself: before it come only attributes and the name, in which it escapes `<`, so that no
 * title, description or metadata, which come later, can feign another. Whatever is wrong ends with 0, and the VM starts.
 */
const HOOK = `#!/bin/sh
# Installed by \`understudy guard install\`; taken out by \`understudy guard remove\`.
# Refuses the start of VMs whose replicas serve elsewhere: those with a file in understudy-guards.
[ "$2" = prepare ] || exit 0
guards=\${0%/*}/../understudy-guards
uuid=
while [ -z "$uuid" ] && IFS= read -r line; do
  case $line in
    *'<uuid>'*'</uuid>'*)
      uuid=\${line#*'<uuid>'}
      uuid=\${uuid%%'</uuid>'*}
      ;;
  esac
done
case $uuid in
  '' | *[!0-9a-f-]*) exit 0 ;;
esac
for guard in "$guards/$uuid".*; do
  [ -f "$guard" ] || continue
  reason=
  IFS= read -r reason <"$guard"
  printf 'understudy: %s\\n' "\${reason:-this VM is kept from starting}" >&2
  exit 1
done
exit 0
`;

export type HookPlaces = {
  readonly qemuFolder: string;
  readonly hookPath: string;
  readonly guardsFolder: string;
};

export function hookPlaces(hooksFolder: string): HookPlaces {
  const qemuFolder = join(hooksFolder, 'qemu.d');
  return {
    qemuFolder,
    hookPath: join(qemuFolder, 'understudy'),
    guardsFolder: join(hooksFolder, 'understudy-guards'),
  };
}

/** Throws `access-denied`. */
export async function installHook({
  qemuFolder,
  hookPath,
  guardsFolder,
}: HookPlaces): Promise<void> {
  await writable(guardsFolder, async () => {
    for (const folder of [qemuFolder, guardsFolder]) await mkdir(folder, { recursive: true });
    // libvirt runs whatever is executable in `qemu.d`, also what was left half-written: so it is written elsewhere.
    await writeThrough(join(guardsFolder, '.hook'), hookPath, HOOK, 0o755);
    await syncFolder(qemuFolder);
  });
}

/** The hook first: without guards it would let every VM start all the same. */
export async function removeHook({ hookPath, guardsFolder }: HookPlaces): Promise<void> {
  await writable(guardsFolder, async () => {
    await rm(hookPath, { force: true });
    await rm(guardsFolder, { recursive: true, force: true });
  });
}

/** libvirt passes over one that may not be run. */
export async function isHookInstalled({ hookPath }: HookPlaces): Promise<boolean> {
  try {
    const { mode } = await stat(hookPath);
    return (mode & 0o111) !== 0 && (await readFile(hookPath, 'utf8')) === HOOK;
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}

/** Durable and whole, or not there. `temporary` must be no name that the hook looks for. */
export async function writeThrough(
  temporary: string,
  path: string,
  text: string,
  mode = 0o644,
): Promise<void> {
  {
    await using file = await open(temporary, 'w', mode);
    // Whatever our umask, and also one that a killed writer left.
    await file.chmod(mode);
    await file.writeFile(text);
    await file.sync();
  }
  await rename(temporary, path);
}

/** Turns a refusal of the file system into a sentence that says how to end it. */
export async function writable<T>(folder: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'EACCES' && code !== 'EPERM' && code !== 'EROFS') throw error;
    const details = {
      path: folder,
      who: 'the server',
      reason: code === 'EROFS' ? 'its file system is read-only' : 'permission denied',
      fix: 'Hooks belong to root: run the server as root, or name a folder that it may write with `--hooks`.',
    };
    throw new UnderstudyError('access-denied', details, error);
  }
}

export function codeOf(error: unknown): string | null {
  return error instanceof Error && 'code' in error ? String(error.code) : null;
}
