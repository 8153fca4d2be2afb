# The controller is away for two hours: nothing runs, and the moment it is back the breach is known and the late run begins.
the scheduler runs
vm web on production

protect web from production to recovery: every 30 min
wait 10 min
the controller is killed
wait 2 h
a controller starts
wait 2 min
expect 2 points of web
expect web to be not rpo-breached
