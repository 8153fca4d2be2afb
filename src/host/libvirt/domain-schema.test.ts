import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { readDomainSchema } from './domain-schema.ts';

const SCHEMA = fileURLToPath(new URL('fixtures/schema/domain.rng', import.meta.url));

describe('the schema of definitions', () => {
  it('is read through its files, definitions and choices', async () => {
    const domain = (await readDomainSchema(SCHEMA))?.child('domain');
    assert.deepEqual(domain?.childNames(), ['title', 'metadata', 'devices']);
    assert.deepEqual(domain?.attributes.get('type'), ['kvm', 'qemu']);
    assert.equal(domain?.child('title')?.hasText, true);
    const disk = domain?.child('devices')?.child('disk');
    assert.deepEqual([...(disk?.attributes.keys() ?? [])], ['type', 'device']);
    assert.deepEqual(disk?.attributes.get('device'), ['lun', 'disk']);
    assert.equal(disk?.child('source'), null);
  });

  it('may lead back to itself, or let everything in', async () => {
    const domain = (await readDomainSchema(SCHEMA))?.child('domain');
    const layer = domain?.child('devices')?.child('disk')?.child('backingStore');
    assert.ok(layer?.child('backingStore')?.child('backingStore'));
    assert.equal(domain?.child('metadata')?.isOpen, true);
    assert.equal(domain?.isOpen, false);
  });

  it('is null where there is none', async () => {
    assert.equal(await readDomainSchema('/nowhere/domain.rng'), null);
  });
});
