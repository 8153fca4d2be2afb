/** A host goes away, restarts its agent or loses power, before or after a call. */
import { HOST_TROUBLES, testEveryStory } from './trouble.ts';

/** What an operator does about these differs: the helper would start the wrong VM. */
const NEED_OTHER_HELP = ['failback', 'switchover', 'commit failback'];

testEveryStory(
  'either host goes away, restarts its agent or loses power, before and after a call',
  HOST_TROUBLES,
  (name) => !NEED_OTHER_HELP.includes(name),
);
