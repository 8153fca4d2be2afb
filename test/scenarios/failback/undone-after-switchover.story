# Production took over and turns out to be broken: the failback is undone, the replica starts with the state it was shut down with, and production's disks are what they were.
vm web on production

protect web from production to recovery
run web
write web vda 3 never replicated
fail over web fencing by power-off
write web-replica vda 5 by the replica
fail back web
switch web over
write web vda 6 by production after the switchover
undo the failback of web
expect web in Failover
expect web-replica running
expect web-replica to hold by the replica 5 in block 5 of vda
expect web on production off
expect web on production to hold never replicated 3 in block 3 of vda
undo web
expect web in Ready
start web on production
run web
