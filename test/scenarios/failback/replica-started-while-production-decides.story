# Production runs the failed-back state and somebody starts the replica by hand: what it writes is not what production has, so the commit refuses until it is off.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
fail back web
switch web over
accept the duplicate of web on production
start web-replica
commit the failback of web
expect web in Failback
expect the last operation failed with vm-not-off
shut down web-replica
undo the failback of web
expect web in Failover
