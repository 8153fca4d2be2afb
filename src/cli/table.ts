import { escapeText } from './escape.ts';

export type Column<Row> = {
  readonly header: string;
  readonly cell: (row: Row) => string;
  readonly align?: 'left' | 'right';
};

const GAP = '  ';

/** A header and one line per row, columns as wide as their widest cell. Cells are escaped. */
export function renderTable<Row>(rows: readonly Row[], columns: readonly Column<Row>[]): string {
  const lines = [
    columns.map((column) => column.header),
    ...rows.map((row) => columns.map((column) => escapeText(column.cell(row)))),
  ];
  const widths = columns.map((_, index) =>
    lines.reduce((widest, line) => Math.max(widest, displayWidth(line[index] ?? '')), 0),
  );
  return lines.map((line) => `${joinCells(line, widths, columns)}\n`).join('');
}

/** `Label:  value` lines; values are escaped, one with several lines is indented under its label. */
export function renderDetails(
  rows: readonly (readonly [string, string | readonly string[]])[],
): string {
  const width = Math.max(...rows.map(([label]) => label.length)) + 1;
  return rows
    .map(([label, value]) => {
      const lines = typeof value === 'string' ? [value] : value;
      const indented = (lines.length === 0 ? ['–'] : lines).map(escapeText);
      const head = `${label}:`.padEnd(width);
      return `${head}${GAP}${indented.join(`\n${' '.repeat(width)}${GAP}`)}\n`;
    })
    .join('');
}

function joinCells(
  cells: readonly string[],
  widths: readonly number[],
  columns: readonly { readonly align?: 'left' | 'right' }[],
): string {
  const padded = cells.map((cell, index) => {
    const blanks = ' '.repeat(Math.max(0, (widths[index] ?? 0) - displayWidth(cell)));
    return columns[index]?.align === 'right' ? blanks + cell : cell + blanks;
  });
  return padded.join(GAP).trimEnd();
}

/** What a terminal says of its width, on which some, such as a serial console, tell 0: they do not know. */
export function terminalColumns(told: number | undefined): number {
  return told === undefined || told === 0 ? 80 : told;
}

const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u;

/** Cells that a terminal needs for the text: wide characters take two, combining marks none. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const character of text) {
    if (/\p{Mark}/u.test(character)) continue;
    width += WIDE.test(character) ? 2 : 1;
  }
  return width;
}
