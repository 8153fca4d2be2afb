# The controller dies when the replica has been shut down and production has not started yet: its successor goes on and production takes over.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
write web-replica vda 5 by the replica
fail back web
fault at production.productionDisks.attach: crash-after
switch web over
a controller starts
until everything has settled
expect web in Failback
expect web on production running
expect web-replica off
expect web on production to hold by the replica 5 in block 5 of vda
commit the failback of web
run web
