# Production runs the failed-back state and somebody tries to start the replica by hand: what it wrote would be in the next restore point and not in production, so its disks are nowhere until the undo, which brings back all that it had.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
write web-replica vda 5 by the replica
fail back web
switch web over
try to start web-replica
write web vda 6 by production after the switchover
undo the failback of web
expect web in Failover
expect web-replica to hold by the replica 5 in block 5 of vda
fail back web
switch web over
try to start web-replica
commit the failback of web
expect web in Ready
run web
