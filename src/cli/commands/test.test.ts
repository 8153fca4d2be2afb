import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { OPERATION } from '../../api/testing/sample-values.ts';
import { openServedRoom } from '../testing/cli-room.ts';

const TESTED = {
  ...OPERATION,
  kind: 'test-failover',
  state: 'succeeded',
  result: {
    testId: 'tst-1',
    pointId: 'pt-1',
    evidence: [{ name: 'serial.txt', type: 'text/plain', bytes: 5 }],
  },
} as const;

test('evidence is saved where it was asked for', async (t) => {
  const { run, fake, folder } = await openServedRoom(t);
  fake.put(TESTED);
  const to = join(folder, 'proof');
  assert.equal((await run(['test', 'evidence', OPERATION.id, '--to', to])).code, 0);
  assert.equal(await readFile(join(to, 'pt-1-tst-1-serial.txt'), 'utf8'), 'hello');
});

test('evidence that cannot be saved is no bug of ours: the file is named', async (t) => {
  const { run, fake, folder } = await openServedRoom(t);
  fake.put(TESTED);
  const file = join(folder, 'file');
  await writeFile(file, '');
  const { code, err } = await run(['test', 'evidence', OPERATION.id, '--to', join(file, 'below')]);
  assert.equal(err, `understudy: ${join(file, 'below')} cannot be written (ENOTDIR).\n`);
  assert.equal(code, 1);
});

test('where no evidence was kept that is said, not only told by the exit code', async (t) => {
  const { run, fake } = await openServedRoom(t);
  const nothing = { ...TESTED.result, evidence: [] };
  for (const operation of [OPERATION, { ...TESTED, result: nothing }]) {
    fake.put(operation);
    const { code, out, err } = await run(`test evidence ${OPERATION.id}`);
    assert.equal(code, 4);
    assert.equal(out, '');
    assert.match(err, /^understudy: .*op-a1 has no evidence.*understudy test show op-a1/);
  }
});
