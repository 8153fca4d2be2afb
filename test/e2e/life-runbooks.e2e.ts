/** Runbooks are followed as they are written: their commands are taken out of the document and run. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { run } from '../../src/rig/command.ts';
import { type BlockVm, MIB } from './stage/block-vm.ts';
import { requireSameContent } from './stage/bytes.ts';
import { type Archive, archiveOf } from './stage/life.ts';
import { openStage, type Stage, skipReason } from './stage/open-stage.ts';
import type { Protection } from './stage/operator.ts';

const RUNBOOKS = join(import.meta.dirname, '..', '..', 'docs', 'runbooks');

suite('runbooks', { skip: skipReason() }, () => {
  let stage: Stage;
  let vm: BlockVm;
  let protection: Protection;
  let archive: Archive;

  before(async () => {
    stage = await openStage();
    vm = await stage.blockVm({ name: 'rescue-me' });
    await vm.start();
    protection = await stage.protect(vm.name);
    archive = archiveOf(stage, vm);
    for (let round = 1; round <= 3; round++) {
      await vm.write('vda', { offset: round * MIB, length: MIB, value: round });
      await vm.write('vdb', { offset: 5 * round * MIB, length: 65536, value: 0x20 + round });
      await archive.keep(await stage.replicate(protection));
    }
  });
  after(() => stage?.[Symbol.asyncDispose]());

  test('start a replica without Understudy', async () => {
    const { id, name } = await stage.replica(protection);
    const [, middle] = await stage.points(protection);
    assert.ok(middle);
    await stage.server.kill9();
    const rescue = join(stage.folder, 'rescue');
    const blocks = await commandsOf('start-without-understudy.md');
    assert.equal(blocks.length, 4);
    const script = ['set -e', ...blocks]
      .join('\n')
      .replaceAll('REPLICA-ID', id)
      .replaceAll('POINT-ID', middle.id)
      .replaceAll('/srv/rescue', rescue)
      .replaceAll('NAME-rescued', `${vm.name}-rescued`);
    const env = { ...process.env, ...stage.recovery.env, LIBVIRT_DEFAULT_URI: stage.recovery.uri };
    const output = await run('bash', ['-c', `cd ${stage.storageFolder}\n${script}`], { env });
    assert.match(output, new RegExp(`${id}/replica.json.*${name}`));
    const listed = output.split('\n').filter((line) => /^\d{4}-.*\+00:00 pt-/.test(line));
    assert.equal(listed.length, 3);
    assert.ok(stage.recovery.qemuPid(`${vm.name}-rescued`), 'the rescued VM runs');
    for (const [key, expected] of archive.expected(middle)) {
      const path = join(rescue, `${key}.qcow2`);
      await requireSameContent(expected, { path, format: 'qcow2' });
    }
    const xml = await stage.recovery.virsh(['dumpxml', '--domain', `${vm.name}-rescued`]);
    assert.match(xml, /<link state='down'\/>/);
    await stage.recovery.virsh(['destroy', '--domain', `${vm.name}-rescued`]);
    await stage.recovery.virsh(['undefine', '--domain', `${vm.name}-rescued`]);
    await stage.server.restart();
    await archive.requireAllExact(protection);
    const findings = await stage.attempt(['replica', 'rescan', id, '-o', 'json']);
    assert.deepEqual(JSON.parse(findings.stdout).result.findings, []);
  });

  /** What is in the blocks marked `sh`, without their indentation. */
  async function commandsOf(runbook: string): Promise<readonly string[]> {
    const text = await readFile(join(RUNBOOKS, runbook), 'utf8');
    return [...text.matchAll(/^( *)```sh\n(.*?)^ *```$/gms)].map(([, indent = '', body = '']) =>
      body.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
    );
  }
});
