/** A call into the world fails once, done or not. */
import { testEveryStory } from './trouble.ts';

testEveryStory('a call fails once, done or not', ['fail', 'fail-after']);
