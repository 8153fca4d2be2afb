# Somebody touches a layer below a replica whose work has gone home: the commit makes a restore point over it, and is refused until a repair has read the layer again. Nothing was merged meanwhile.
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
write web-replica vda 5 by the replica
fail back web
switch web over
somebody touches the layer of vda in P1
commit the failback of web
expect the last operation failed with replica-drifted
expect web in Failback
repair web
commit the failback of web
expect web in Ready
run web
expect the log not to say resync
expect web on production to hold by the replica 5 in block 5 of vda
