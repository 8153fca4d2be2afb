/** A host goes away, restarts its agent or loses power, before or after a call. */
import { HOST_TROUBLES, testEveryStory } from './trouble.ts';

testEveryStory(
  'either host goes away, restarts its agent or loses power, before and after a call',
  HOST_TROUBLES,
);
