# A failback lets production go at the switchover and no sooner; undone, it is held again before the replica starts.
vm web on production
protect web from production to recovery
run web
start guard at production
fail over web fencing by power-off
fail back web
look at the guard of production
switch web over
look at the guard of production
undo the failback of web
look at the guard of production
try to start web on production
undo web
run web
