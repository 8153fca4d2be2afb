#!/usr/bin/env node
// Runs the program on Node 24 or newer: the one that runs this file, else the one installed beside it.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import module from 'node:module';
import { fileURLToPath } from 'node:url';
import { setFlagsFromString } from 'node:v8';

const main = fileURLToPath(new URL('../src/main/cli.ts', import.meta.url));
const own = fileURLToPath(new URL('../node_modules/node/bin/node', import.meta.url));

// What Node makes of the sources is kept: commands start three times as fast, and the server, which lives long, never
// loads the compiler. With memory counting more than the last bit of speed, two of glibc's arenas instead of one per
// thread, and what is free given back in pieces of 128 KiB (glibc keeps ever larger ones by itself), it needs 110 MiB instead
// of 160 (docs/benchmarks.md). Where we may not write, Node goes on without.
const flag = '--optimize-for-size';
const compiled = fileURLToPath(new URL('../.cache/compiled', import.meta.url));
const malloc = {
  MALLOC_ARENA_MAX: '2',
  MALLOC_TRIM_THRESHOLD_: '131072',
  MALLOC_MMAP_THRESHOLD_: '131072',
};
const env = { ...malloc, NODE_COMPILE_CACHE: compiled, ...process.env };
const args = process.argv.slice(2);

if (Number(process.versions.node.split('.')[0]) >= 24) {
  // Only a program that is started anew takes the limit of arenas; this one becomes it.
  if (args.includes('serve') && process.env.MALLOC_ARENA_MAX === undefined) {
    const program = [process.execPath, flag, fileURLToPath(import.meta.url)];
    process.execve(process.execPath, [...program, ...args], env);
  }
  // In this order: what was kept with another flag is of no use.
  setFlagsFromString(flag);
  module.enableCompileCache(compiled);
  await import(main);
} else if (existsSync(own)) {
  const child = spawn(own, [flag, main, ...args], { stdio: 'inherit', env });
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
