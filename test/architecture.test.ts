/**
 * The architecture as a test: which folder may import which, which calls to the outside world stay at the edge, and which
 * words the domain does not use. A rule that bends is changed here, in the open.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { test } from 'node:test';

const SOURCE = resolve(import.meta.dirname, '../src');

/** folder → what it may import from `src`; itself is always allowed. Longest matching folder wins. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  domain: [],
  ports: ['domain'],
  engine: ['ports', 'domain'],
  'host/libvirt': [
    'ports',
    'domain',
    'host/file-parsing.ts',
    'host/is-there.ts',
    'host/nbd-server-tuning.ts',
  ],
  'host/chain': [
    'ports',
    'domain',
    'host/file-parsing.ts',
    'host/hash-table',
    'host/is-there.ts',
    'host/nbd-server-tuning.ts',
    'host/qcow2',
  ],
  'host/mover': ['ports', 'domain', 'host/hash-table', 'host/nbd-server-tuning.ts', 'host/qcow2'],
  'host/hash-table': ['domain'],
  'host/file-parsing.ts': ['domain'],
  'host/is-there.ts': [],
  'host/nbd-server-tuning.ts': [],
  'host/qcow2': ['domain'],
  'host/testing': [],
  durable: ['ports', 'domain'],
  store: ['ports', 'domain'],
  simulator: ['ports', 'domain'],
  system: ['ports', 'domain'],
  conformance: ['ports', 'domain'],
  contract: [],
  api: ['contract', 'engine', 'ports', 'domain'],
  cli: ['contract'],
  rig: ['system', 'ports', 'domain'],
  main: ['*'],
};

/** Packages a folder may use; everything else uses none but node's own modules. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  domain: [],
  ports: [],
  engine: [],
  contract: ['zod'],
  api: ['fastify', 'zod'],
  cli: ['commander'],
  'host/libvirt': ['@xmldom/xmldom', 'zod'],
  'host/chain': ['zod'],
  'host/file-parsing.ts': ['zod'],
  store: ['zod'],
  rig: ['@xmldom/xmldom'],
};

/** Folders whose code may not even import node's own modules. */
const PURE = ['domain', 'ports', 'engine', 'contract'];

const AMBIENT: readonly (readonly [RegExp, string])[] = [
  [/\bDate\.now\(|\bnew Date\(\)/, 'Clock.now'],
  [/\bperformance\.now\(/, 'Clock.monotonicMs'],
  [/\bMath\.random\(/, 'Ids or a seeded random'],
  [/\brandomUUID\b|\brandomBytes\b/, 'Ids'],
  [/\bset(Timeout|Interval)\(/, 'Clock.sleep'],
  [/\bprocess\.(env|argv|exit|stdout|stderr|cwd)\b/, 'an argument from main'],
  [/\bconsole\./, 'the logger or stdout handed in by main'],
];
const MAY_BE_AMBIENT = ['system', 'main', 'rig', 'conformance'];

const BANNED_WORDS = /\b(checkpoint|snapshot)s?\b/i;
const SPEAKS_OUR_WORDS = ['domain', 'ports', 'engine', 'contract'];

type SourceFile = {
  readonly path: string;
  readonly folder: string;
  readonly text: string;
  readonly isTest: boolean;
};

const files: readonly SourceFile[] = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .map((path) => {
    const unix = path.split(sep).join('/');
    const isTest = /\.(test|e2e)\.ts$/.test(unix) || /(^|\/)(testing|fixtures?)\//.test(unix);
    return {
      path: unix,
      folder: folderOf(unix),
      text: readFileSync(join(SOURCE, path), 'utf8'),
      isTest,
    };
  });

function folderOf(path: string): string {
  const known = Object.keys(ARROWS).filter(
    (folder) => path === folder || path.startsWith(`${folder}/`),
  );
  return known.sort((a, b) => b.length - a.length)[0] ?? path;
}

function importsOf({ text }: SourceFile): readonly string[] {
  const pattern =
    /(?:^|\n)\s*(?:import|export)\b[^'"]*?from\s+['"]([^'"]+)['"]|import\(\s*['"]([^'"]+)['"]\s*\)|new URL\(\s*['"]([^'"]+\.ts)['"]/g;
  return [...text.matchAll(pattern)].map((match) => match[1] ?? match[2] ?? match[3] ?? '');
}

test('every folder is known', () => {
  const unknown = files
    .filter((file) => ARROWS[file.folder] === undefined)
    .map((file) => file.path);
  assert.deepEqual(unknown, []);
});

test('imports follow the arrows', () => {
  const wrong: string[] = [];
  for (const file of files.filter((candidate) => !candidate.isTest)) {
    const allowed = ARROWS[file.folder] ?? [];
    for (const specifier of importsOf(file).filter((name) => name.startsWith('.'))) {
      const target = relative(SOURCE, resolve(SOURCE, dirname(file.path), specifier))
        .split(sep)
        .join('/');
      const folder = folderOf(target);
      const ok = folder === file.folder || allowed.includes(folder) || allowed.includes('*');
      if (!ok) wrong.push(`${file.path} imports ${target}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('packages stay where they are allowed', () => {
  const wrong: string[] = [];
  for (const file of files.filter(
    (candidate) => !candidate.isTest && candidate.folder !== 'main',
  )) {
    for (const specifier of importsOf(file).filter((name) => !name.startsWith('.'))) {
      const isNode = specifier.startsWith('node:');
      if (isNode && !PURE.includes(file.folder)) continue;
      if (!isNode && (PACKAGES[file.folder] ?? []).includes(specifier)) continue;
      wrong.push(`${file.path} imports ${specifier}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('time, randomness, environment and console stay at the edge', () => {
  const wrong: string[] = [];
  for (const file of files) {
    if (file.isTest || MAY_BE_AMBIENT.includes(file.folder)) continue;
    const code = withoutComments(file.text);
    for (const [pattern, instead] of AMBIENT) {
      const found = pattern.exec(code);
      if (found !== null) wrong.push(`${file.path}: ${found[0]} (use ${instead})`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('words on which drivers disagree are not used in the middle', () => {
  const wrong = files
    .filter((file) => SPEAKS_OUR_WORDS.includes(file.folder) && BANNED_WORDS.test(file.text))
    .map((file) => file.path);
  assert.deepEqual(wrong, []);
});

test('no file is longer than 400 lines', () => {
  const long = files.filter((file) => !file.isTest && file.text.split('\n').length > 401);
  assert.deepEqual(
    long.map((file) => file.path),
    [],
  );
});

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/(^|[^:'"`])\/\/.*$/gm, '$1');
}
