# Runs begin by the clock in the job's window only: the first waits for it, the last one ends just before it closes. That the RPO
# cannot be kept until it opens again is told at once; a run by hand and a planned failover ask for no window.
the scheduler runs
vm web on production

protect web from production to recovery: every 6 h, window 02:00-04:00
wait 119 min
expect web in Pending
wait 2 min
expect 1 point of web
expect web to be not rpo-breached
wait 119 min
expect 2 points of web
expect web to be rpo-breached
wait 5 h
expect 2 points of web
run web
expect 3 points of web
wait 1 min
expect web to be rpo-breached
fail over web as planned
undo web
wait 17 h
expect web to be not rpo-breached
