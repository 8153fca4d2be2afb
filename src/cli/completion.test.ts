import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { openCliRoom } from './testing/cli-room.ts';

const CHECKS: [string, readonly string[]][] = [
  ['bash', ['-n']],
  ['zsh', ['-n']],
  ['fish', ['--no-execute']],
];

for (const [shell, options] of CHECKS) {
  test(`${shell} accepts its completion script`, async (t) => {
    const { run, folder } = await openCliRoom(t);
    const { code, out } = await run(`completion ${shell}`);
    assert.equal(code, 0);
    assert.match(out, /permanent-failover/);
    if (spawnSync(shell, ['-c', 'true']).error !== undefined) {
      t.skip(`needs ${shell}`);
      return;
    }
    // A file: fish checks none that comes from stdin.
    const file = join(folder, `understudy.${shell}`);
    await writeFile(file, out);
    const checked = spawnSync(shell, [...options, file], { encoding: 'utf8' });
    assert.equal(checked.status, 0, checked.stderr);
    assert.equal(checked.stderr, '');
  });
}

test('bash completes commands, options and values', async (t) => {
  const { run } = await openCliRoom(t);
  const { out: script } = await run('completion bash');
  const cases: [readonly string[], readonly string[]][] = [
    [['rep'], ['replica']],
    [['host', 'a'], ['add']],
    [['--data', '/x', 'host', 'rem'], ['remove']],
    [['failover', 'web', '--fe'], ['--fence']],
    [['failover', 'web', '--fence', 'p'], ['power-off']],
    [['completion', 'z'], ['zsh']],
    [['host', 'list', '-o', 'nd'], ['ndjson']],
    [['host', 'add', '--storage', '/'], []],
  ];
  for (const [words, expected] of cases) {
    const program = `${script}
COMP_WORDS=(understudy "$@"); COMP_CWORD=$#; _understudy; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const { stdout } = spawnSync('bash', ['-c', program, 'bash', ...words], { encoding: 'utf8' });
    assert.deepEqual(
      stdout.split('\n').filter((line) => line !== ''),
      expected,
      words.join(' '),
    );
  }
});
