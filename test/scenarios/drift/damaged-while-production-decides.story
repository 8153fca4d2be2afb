# Somebody writes into a layer below a replica whose work has gone home. The repair that is advised finds the damage and then drops the restore point; the commit does without one of the replica's state, production keeps what it has, and the next run begins anew.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
write web-replica vda 5 by the replica
fail back web
switch web over
somebody writes into the layer of vda in P1
commit the failback of web
expect the last operation failed with replica-drifted
repair web
commit the failback of web
expect the last operation failed with replica-drifted
expect web in Failback
repair web
commit the failback of web
expect web in Ready
expect 0 points of web
expect web on production to hold by the replica 5 in block 5 of vda
run web
expect 1 point of web
fail over web fencing by power-off
expect web-replica to hold by the replica 5 in block 5 of vda
undo web
