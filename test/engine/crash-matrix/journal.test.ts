/** The controller dies at a write of the journal. */
import { testEveryStory } from './trouble.ts';

testEveryStory('the controller dies at a moment of the journal', ['journal']);
