import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HOSTILE_NAME } from '../api/testing/sample-values.ts';
import type { RebuildOrder } from '../ports/rebuild-report.ts';
import { escapeText, safeJson } from './escape.ts';
import { displayWidth, renderDetails, renderTable, terminalColumns } from './table.ts';
import { openServedRoom } from './testing/cli-room.ts';

// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not be there.
const STEERING = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;

const anyText = fc.string({ unit: 'binary', maxLength: 40 });

test('no text steers the terminal or breaks the line', () => {
  fc.assert(
    fc.property(anyText, (text) => {
      assert.doesNotMatch(escapeText(text), STEERING);
    }),
  );
  assert.equal(escapeText('a\u001b[31m\n\t\u202e\ud800ü木'), 'a\\x1b[31m\\n\\t\\u202e\\ud800ü木');
});

test('a terminal that does not know its width, as a serial console, is taken for an ordinary one', () => {
  assert.deepEqual([undefined, 0, 1, 132].map(terminalColumns), [80, 80, 1, 132]);
});

test('safe JSON is the same value without controls', () => {
  fc.assert(
    fc.property(anyText, fc.boolean(), (text, indented) => {
      const written = safeJson({ text, list: [text] }, indented ? 2 : undefined);
      assert.deepEqual(JSON.parse(written), { text, list: [text] });
      assert.doesNotMatch(written.replaceAll('\n', ''), STEERING);
    }),
  );
});

test('every row of a table is one line and columns line up', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(anyText, anyText), { maxLength: 5 }), (rows) => {
      const text = renderTable(rows, [
        { header: 'A', cell: ([first]) => first },
        { header: 'B', cell: ([, second]) => `|${second}` },
      ]);
      const lines = text.split('\n');
      assert.equal(lines.pop(), '');
      assert.equal(lines.length, rows.length + 1);
      const starts = lines.slice(1).map((line, index) => {
        const second = `|${escapeText(rows[index]?.[1] ?? '')}`.trimEnd();
        return displayWidth(line.slice(0, line.length - second.length));
      });
      assert.ok(new Set(starts).size <= 1);
    }),
  );
});

test('details keep several values under their label', () => {
  const text = renderDetails([
    ['One', 'x\ny'],
    ['Several', ['a', 'b']],
    ['None', []],
  ]);
  assert.equal(text, 'One:      x\\ny\nSeveral:  a\n          b\nNone:     –\n');
});

test('a hostile VM name is shown harmlessly wherever it is shown', async (t) => {
  const { run, fake } = await openServedRoom(t);
  const { signal } = new AbortController();
  const [vm] = await fake.controller.vms('a', { signal });
  assert.ok(vm);
  fake.answers.vms = [{ ...vm, name: HOSTILE_NAME }];
  const table = await run('vm list a');
  assert.equal(table.out.split('\n').length, 3);
  assert.doesNotMatch(table.out.replaceAll('\n', ''), STEERING);
  const json = await run('vm list a -o json');
  assert.doesNotMatch(json.out.replaceAll('\n', ''), STEERING);
  assert.equal(JSON.parse(json.out)[0].name, HOSTILE_NAME);
  const archives = await fake.controller.archives('r', { signal });
  fake.answers.archives = archives.map((one) => ({ ...one, unknownBecause: HOSTILE_NAME }));
  const { folders } = await fake.controller.rebuild({} as RebuildOrder, { seed: null, signal });
  const notes = [HOSTILE_NAME];
  const hostile = folders.map((one) => ({ ...one, name: HOSTILE_NAME, notes }));
  fake.answers.rebuild = { folders: hostile, unreachable: [], isDryRun: false };
  for (const line of ['archive list r', 'rescan --rebuild']) {
    const { out } = await run(line);
    assert.equal(out.split('\n').length, 4, line);
    assert.doesNotMatch(out.replaceAll('\n', ''), STEERING);
  }
  const missing = await run(['host', 'show', '--', HOSTILE_NAME]);
  assert.equal(missing.code, 0);
  assert.equal(fake.calls.at(-1)?.[1], HOSTILE_NAME);
});
