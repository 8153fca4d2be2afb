# The work goes to a new VM on a third host, which is protected from then on in place of the old one.
hosts production, recovery, spare
vm web on production

protect web from production to recovery
run web
fail over web fencing by power-off
write web-replica vda 5 by the replica
fail back web to a new VM web-2 on spare
switch web over
expect web-2 on spare running
expect web-2 to hold by the replica 5 in block 5 of vda
commit the failback of web
expect web-2 in Ready
run web-2
expect the log not to say resync
