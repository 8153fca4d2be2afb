# The link breaks after the replica was shut down for the last delta: the switchover fails, the replica starts again and serves, and the next attempt succeeds.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
write web-replica vda 5 by the replica
fail back web
fault at production.productionDisks.attach 6 times: fail
switch web over
expect web in ReadyToSwitch
expect web-replica running
expect web on production off
faults are over
write web-replica vda 6 after the failed switchover
switch web over
expect web in Failback
expect web on production to hold after the failed switchover 6 in block 6 of vda
commit the failback of web
run web
