# While the replica serves there is no run and no breach; after the undo the schedule goes on with an incremental run.
the scheduler runs
vm web on production

protect web from production to recovery: every 15 min
wait 5 min
fail over web fencing by nics
wait 2 h
expect 1 point of web
expect web to be not rpo-breached
undo web
wait 5 min
expect 2 points of web
