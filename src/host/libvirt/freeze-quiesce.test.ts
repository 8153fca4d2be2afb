import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseSequenceLog, virshWord } from './freeze-quiesce.ts';

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
    freezeComplaint: null,
    beginComplaint: null,
  });
});

test('a sequence is read while it grows', () => {
  assert.equal(parseSequenceLog('').hasReachedBegin, false);
  assert.equal(parseSequenceLog('Froze 1 filesystem(s)\n').frozenCount, 1);
  const begun = parseSequenceLog(SUCCESS.slice(0, SUCCESS.indexOf('error: @thaw')));
  assert.deepEqual([begun.hasReachedBegin, begun.isThawed], [true, false]);
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
