/**
 * Several questions by one `virsh`: of the 17 ms that a question takes, 14 are the start of the program. Only for
 * commands that read; what they print is told apart by lines that no answer of libvirt holds.
 */
import type { CallOptions } from '../../ports/call.ts';
import { hasCode } from './errors.ts';
import type { Virsh } from './virsh.ts';

const SEPARATOR = '@next-answer@';

/** Words that virsh's own command language takes as they are (virsh(1), NOTES). */
const PLAIN_WORD = /^[A-Za-z0-9_./:=-]+$/;

/**
 * What each command printed, in order. Null for one that printed nothing, which most often means that it failed: ask it
 * alone to learn why. All are null when the answers cannot be told apart.
 * Throws what `Virsh.run` does when the daemon itself cannot be reached.
 */
export async function askTogether(
  virsh: Virsh,
  commands: readonly (readonly string[])[],
  options: CallOptions,
): Promise<readonly (string | null)[]> {
  const unknown = commands.map(() => null);
  if (!commands.flat().every((word) => PLAIN_WORD.test(word))) return unknown;
  const line = commands.map((words) => words.join(' ')).join(`; echo ${SEPARATOR}; `);
  let text: string;
  try {
    // The last command decides about the exit code: an `echo` never fails.
    text = await virsh.run([`${line}; echo`], options);
  } catch (error) {
    if (hasCode(error, 'hypervisor-refused')) return unknown;
    throw error;
  }
  const answers = text.split(SEPARATOR);
  // Somebody wrote our separator into a description: then its parts are anybody's guess.
  if (answers.length !== commands.length) return unknown;
  return answers.map((answer) => (answer.trim() === '' ? null : withoutLineEnds(answer)));
}

/** A name may end in a blank. */
function withoutLineEnds(text: string): string {
  return text.replace(/^\n+|\n+$/g, '');
}
