#!/usr/bin/env node
// Runs the program on Node 24 or newer: the one that runs this file, else the one installed beside it.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';

const main = fileURLToPath(new URL('../src/main/cli.ts', import.meta.url));
const own = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url));

// What Node makes of the sources is kept, and memory counts more than the last bit of speed: the server needs 95 MiB
// instead of 130, because it never loads the compiler, and commands start three times as fast. Both are only
// possible before anything is loaded, the flag first. Where we may not write, Node goes on without.
const flag = '--optimize-for-size';
const compiled = fileURLToPath(new URL('../.cache/compiled', import.meta.url));

if (Number(process.versions.node.split('.')[0]) >= 24) {
  setFlagsFromString(flag);
  module.enableCompileCache(compiled);
  await import(main);
} else if (existsSync(own)) {
  const env = { NODE_COMPILE_CACHE: compiled, ...process.env };
  const child = spawn(own, [flag, main, ...process.argv.slice(2)], { stdio: 'inherit', env });
  // This process only stands in: whoever ends it means the program. A terminal tells both; twice does no harm.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => child.kill(signal));
  }
  child.on('exit', (code) => {
    process.exitCode = code ?? 1;
  });
} else {
  process.stderr.write(
    'understudy needs Node 24 or newer. In its folder, `npm install` brings one along.\n',
  );
  process.exitCode = 1;
}
