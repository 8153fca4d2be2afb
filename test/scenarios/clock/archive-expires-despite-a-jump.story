# The wall clock jumps a week ahead: a kept branch expires then, not before, and a jump back brings nothing alive.
the scheduler runs
vm web on production

protect web from production to recovery: every 4 h, archive for 24 h
wait 5 min
fail over web fencing by power-off
undo web
wait 1 h
expect the log not to say a kept branch has expired
the wall clock jumps ahead by 7 d
wait 30 min
expect the log to say a kept branch has expired
the wall clock jumps back by 7 d
wait 30 min
