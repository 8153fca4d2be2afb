/** The controller dies before or after a call into the world. */
import { testEveryStory } from './trouble.ts';

testEveryStory('the controller dies before and after a call', ['crash-before', 'crash-after']);
