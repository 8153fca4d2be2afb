/** What differs between two texts, as a unified difference with a little context; empty when nothing does. */
export function difference(golden: string, told: string): string {
  const lines = changes(golden.split('\n'), told.split('\n'));
  const near = (index: number) =>
    lines.slice(Math.max(0, index - CONTEXT), index + CONTEXT + 1).some(({ sign }) => sign !== ' ');
  return lines
    .filter((_, index) => near(index))
    .map(({ sign, text }) => `${sign} ${text}`)
    .join('\n');
}

const CONTEXT = 3;

type Line = { readonly sign: '-' | '+' | ' '; readonly text: string };

/** By the longest common subsequence: logs have a few hundred lines at most. */
function changes(before: readonly string[], after: readonly string[]): readonly Line[] {
  const common = commonLengths(before, after);
  const found: Line[] = [];
  let [a, b] = [0, 0];
  while (a < before.length || b < after.length) {
    const [old, fresh] = [before[a], after[b]];
    if (old !== undefined && old === fresh) {
      found.push({ sign: ' ', text: old });
      a += 1;
      b += 1;
    } else if (
      old !== undefined &&
      (fresh === undefined || at(common, a + 1, b) >= at(common, a, b + 1))
    ) {
      found.push({ sign: '-', text: old });
      a += 1;
    } else {
      found.push({ sign: '+', text: fresh ?? '' });
      b += 1;
    }
  }
  return found;
}

/** Of every two tails, how many lines they share. */
function commonLengths(before: readonly string[], after: readonly string[]): number[][] {
  const table = Array.from({ length: before.length + 1 }, () =>
    new Array<number>(after.length + 1).fill(0),
  );
  for (let a = before.length - 1; a >= 0; a -= 1) {
    for (let b = after.length - 1; b >= 0; b -= 1) {
      const row = table[a];
      if (row === undefined) continue;
      row[b] =
        before[a] === after[b]
          ? at(table, a + 1, b + 1) + 1
          : Math.max(at(table, a + 1, b), at(table, a, b + 1));
    }
  }
  return table;
}

function at(table: readonly (readonly number[])[], a: number, b: number): number {
  return table[a]?.[b] ?? 0;
}
