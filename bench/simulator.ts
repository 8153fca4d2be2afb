/**
 * The production engine in the simulator, on one core: how many journaled steps a second it takes, and what it costs to keep
 * a thousand VMs within an RPO of a minute. Time is virtual; what is measured is the processor time of this process, which is
 * told to be sparing with memory as the server's is (bin/understudy.js).
 *
 *   node bench/simulator.ts [--vms 1000] [--hosts 20] [--minutes 5]
 */
import { parseArgs } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { benchScale } from './simulator/scale.ts';
import { benchSteps } from './simulator/steps.ts';

const { values } = parseArgs({
  options: {
    vms: { type: 'string', default: '1000' },
    hosts: { type: 'string', default: '20' },
    minutes: { type: 'string', default: '5' },
  },
});

setFlagsFromString('--optimize-for-size');
// The larger measurement first: its memory is the most that the process ever had.
await benchScale({
  vms: Number(values.vms),
  hosts: Number(values.hosts),
  minutes: Number(values.minutes),
});
await benchSteps();
