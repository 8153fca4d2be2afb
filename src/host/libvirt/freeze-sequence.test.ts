import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseSequenceLog, virshWord } from './freeze-sequence.ts';

const SUCCESS = `Froze 2 filesystem(s)

error: @begin

Backup started

error: @thaw

Thawed 2 filesystem(s)
`;

test('a sequence that went well', () => {
  assert.deepEqual(parseSequenceLog(SUCCESS), {
    frozenCount: 2,
    isThawed: true,
    hasReachedBegin: true,
    hasEnded: true,
    hold: 'none',
    freezeComplaint: null,
    beginComplaint: null,
  });
});

test('a sequence is read while it grows', () => {
  assert.equal(parseSequenceLog('').hasReachedBegin, false);
  assert.equal(parseSequenceLog('Froze 1 filesystem(s)\n').frozenCount, 1);
  const begun = parseSequenceLog(SUCCESS.slice(0, SUCCESS.indexOf('error: @thaw')));
  assert.deepEqual([begun.hasReachedBegin, begun.isThawed], [true, false]);
  assert.deepEqual([begun.hold, begun.hasEnded], ['frozen', false]);
});

test('what a log leaves open is taken for a guest that may be held', () => {
  const failed = 'error: Unable to freeze filesystems\nerror: ';
  const unthawed =
    '\nerror: @begin\nBackup started\nerror: @thaw\nerror: Unable to thaw filesystems\n';
  const cases = [
    ['', 'unknown'],
    ['Froze 0 filesystem(s)\n', 'none'],
    ['Froze 1 filesystem(s)\n', 'frozen'],
    [`Froze 1 filesystem(s)\n${unthawed}`, 'frozen'],
    [`${failed}Guest agent is not responding: QEMU guest agent is not connected`, 'none'],
    [`${failed}argument unsupported: QEMU guest agent is not configured`, 'none'],
    [
      `${failed}internal error: unable to execute QEMU agent command 'guest-fsfreeze-freeze': hook failed`,
      'none',
    ],
    [`${failed}Guest agent is not responding: Guest agent not available for now`, 'unlikely'],
    [
      `${failed}Guest agent is not responding: Guest agent disappeared while executing command`,
      'unknown',
    ],
    [`${failed}End of file while reading data: Input/output error`, 'unknown'],
  ] as const;
  for (const [text, hold] of cases) assert.equal(parseSequenceLog(text).hold, hold, text);
  assert.equal(parseSequenceLog(`Froze 1 filesystem(s)\n${unthawed}`).hasEnded, true);
});

test('a silent agent and a refused backup are told apart', () => {
  const log = parseSequenceLog(`error: Unable to freeze filesystems
error: Guest agent is not responding: QEMU guest agent is not connected

error: @begin

error: checkpoint inconsistent: missing or broken bitmap 'us-1' for disk 'vda'

error: @thaw

error: Unable to thaw filesystems
error: Guest agent is not responding: QEMU guest agent is not connected
`);
  assert.match(log.freezeComplaint ?? '', /not connected/);
  assert.equal(
    log.beginComplaint,
    "checkpoint inconsistent: missing or broken bitmap 'us-1' for disk 'vda'",
  );
  assert.equal(log.isThawed, false);
});

test("any path is one word of virsh's language", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const word = virshWord(text);
      const inner = word.slice(1, -1);
      assert.ok(word.startsWith('"') && word.endsWith('"'));
      assert.equal(inner.replaceAll(/\\(["\\])/g, '$1'), text);
      assert.doesNotMatch(inner.replaceAll(/\\["\\]/g, ''), /["\\]/);
    }),
  );
});
