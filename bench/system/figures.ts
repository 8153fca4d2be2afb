/** Medians with their spread, and tables of them: single runs vary by a third on a machine that does other things, too. */

export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

/** `0.46 s (0.44 to 0.53, n=7)` from milliseconds. */
export function seconds(durationsMs: readonly number[]): string {
  const of = (ms: number) => (ms / 1000).toFixed(2);
  const range = `${of(Math.min(...durationsMs))} to ${of(Math.max(...durationsMs))}`;
  return `${of(median(durationsMs))} s (${range}, n=${durationsMs.length})`;
}

/** What is to hold, and whether it does. */
export function verdict(measured: number, limit: number, unit: string): string {
  const word = measured <= limit ? 'met' : 'MISSED';
  return `target <= ${limit} ${unit}: ${word}`;
}

export function heading(text: string): void {
  console.log(`\n${text}\n${'-'.repeat(text.length)}`);
}

/** Aligned columns; the first is for names. */
export function table(rows: readonly (readonly string[])[]): void {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  for (const row of rows) {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    console.log(cells.join('  ').trimEnd());
  }
}
